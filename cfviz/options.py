"""What a reader can choose from, wherever there is a choice: in the app, in links, in reports and jobs."""

from __future__ import annotations

SIZES = (160, 192, 224, 256, 288, 320, 384, 448)  # side of a square input, pixels
TRAINED_SIZE = 224  # that the bundled and the authors' weights were trained at
DTYPES = ("float32", "bfloat16")  # of links and the app; the command line and the library also take float16
