"""The choices offered to a reader in the app, links, reports and jobs."""

from __future__ import annotations

SIZES = (160, 192, 224, 256, 288, 320, 384, 448)  # side of a square input, pixels
RECTANGLES = ((192, 640), (800, 1216))  # height and width of further inputs on offer: a strip, a detector's
# Mean and standard deviation of ImageNet's pixels, from 0 to 1, as in torchvision and timm.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAINED_SIZE = 224  # of the bundled and the authors' weights
DTYPES = ("float32", "bfloat16")  # in links and the app; the command line and the library also take float16

# Methods of making the position bias of groups of another size. own: the model's own; rescaled: its MLP at
# offsets d * (G-1)/(G'-1), all within the trained range; the next three: of the trained table; none: zeros.
TABLE_METHODS = ("bicubic", "clamp", "cut")
BIAS_METHODS = ("own", "rescaled", *TABLE_METHODS, "none")
WINDOWS = ("fixed", "adaptive", "scaled", "whole")  # how groups follow the map, see `training.measure.sizes`
LDA = ("regions", "whole")  # forms of long distance attention, those of `geometry`, which imports NumPy
NUMBER_FORMATS = (*DTYPES, "float16")  # of the command line and the library
MODES = ("crop", "resize", "pad")  # how a photo is fitted to the input
