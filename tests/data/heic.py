"""Lets tests write HEIC files with Pillow; importing it is enough.

The app only reads HEIC, with pi-heif; pillow-heif has an encoder too. Its reader is not kept, so that the
tests read with the app's own.
"""

import pillow_heif
from PIL import Image

import cfviz.data.decode  # noqa: F401  (registers the app's reader)

_reader = Image.OPEN["HEIF"]
pillow_heif.register_heif_opener()
Image.OPEN["HEIF"] = _reader
assert _reader[0].__module__.startswith("pi_heif")
