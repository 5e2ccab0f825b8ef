"""Lets tests write HEIC files with Pillow. Importing this is all.

The app only reads them, with pi-heif; pillow-heif brings an encoder. Its reader does not stay: the tests read
with what the app reads with.
"""

import pillow_heif
from PIL import Image

import cfviz.data.decode  # noqa: F401  (registers the app's reader)

_reader = Image.OPEN["HEIF"]
pillow_heif.register_heif_opener()
Image.OPEN["HEIF"] = _reader
assert _reader[0].__module__.startswith("pi_heif")
