"""Photos: every format opens upright in the right colours, and every hostile file ends in one sentence."""

import io
import json
import pickle
import re
import struct
import time
import tracemalloc
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from timm.data import create_transform, resolve_data_config

import tests.data.heic  # noqa: F401  (writes HEIC files)
from cfviz.bundled import ASSETS
from cfviz.data import decode, header
from cfviz.data.images import (
    MODES,
    ImageError,
    load_image,
    prepare,
    unnormalise,
)
from cfviz.data.samples import gallery

ROOT = Path(__file__).resolve().parents[2]

FORMATS = header.FORMATS


def picture(width=48, height=32):
    """A smooth picture whose four corners differ."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x / 9)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@lru_cache(maxsize=16)
def small(format):
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}
    return saved(picture(), format, **options.get(format, {}))


def code_of(source):
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert str(caught.value) == header.SENTENCES[caught.value.code].format(**caught.value.fields)
    return caught.value.code


# What opens


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_opens_under_any_file_name(format, tmp_path):
    path = tmp_path / "holiday.txt"
    path.write_bytes(small(format))
    photo = load_image(path)
    assert (photo.image.mode, photo.size, photo.format) == ("RGB", (48, 32), format)
    assert (photo.name, photo.notes, photo.sha256_of) == ("holiday.txt", (), "file")
    difference = np.abs(np.asarray(photo.image, int) - np.asarray(picture(), int))
    assert difference.mean() < 8  # GIF has 256 colours, JPEG and AVIF lose a little
    for source in (str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), path.open("rb")):
        assert load_image(source).sha256 == photo.sha256


def test_an_upload_is_read_from_its_start_and_keeps_only_its_name():
    upload = io.BytesIO(small("PNG"))
    upload.name = "C:\\photos\\..\\a\nb.png"
    upload.read()
    assert load_image(upload).name == "ab.png"
    assert load_image(upload, name="mine").name == "mine"


def test_arrays_and_pil_images_open_like_files():
    pixels = np.asarray(picture())
    photo = load_image(pixels)
    assert np.array_equal(photo.image, pixels)
    assert photo.sha256_of == "pixels"
    assert photo.sha256 == load_image(picture()).sha256 == load_image(pixels[:, ::-1][:, ::-1]).sha256
    assert photo.sha256 != load_image(pixels[::-1].copy()).sha256
    original = picture()
    load_image(original).image.putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(original, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_once(format, orientation):
    upright = np.asarray(picture(64, 32))
    stored = upright
    for step in {2: "h", 3: "hv", 4: "v", 5: "t", 6: "tv", 7: "tvh", 8: "th"}.get(orientation, ""):
        stored = {"h": stored[:, ::-1], "v": stored[::-1], "t": stored.transpose(1, 0, 2)}[step]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options.get(format, {}))
    photo = load_image(data)
    assert photo.size == (64, 32)
    assert ("rotated" in photo.notes) == (orientation > 1)
    assert np.abs(np.asarray(photo.image, int) - upright).mean() < 5
    assert load_image(photo.image).notes == ()  # turned once, not twice


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_composed_on_white(mode):
    image = Image.new("RGBA", (40, 32), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 32))
    if mode == "P":
        flat = Image.new("P", image.size, 1)
        flat.putpalette([255, 0, 255, 0, 0, 0])
        flat.paste(0, (0, 0, 20, 32))
        data = saved(flat, "PNG", transparency=0)
    elif mode == "RGB":
        flat = Image.new("RGB", image.size, (0, 0, 0))
        flat.paste((9, 9, 9), (0, 0, 20, 32))
        data = saved(flat, "PNG", transparency=(9, 9, 9))
    else:
        data = saved(image.convert(mode), "PNG")
    photo = load_image(data)
    assert photo.image.getpixel((5, 5)) == (255, 255, 255)
    assert photo.image.getpixel((30, 5)) == (0, 0, 0)
    assert "alpha_on_white" in photo.notes


def test_an_opaque_alpha_channel_gets_no_note():
    assert load_image(saved(picture().convert("RGBA"), "PNG")).notes == ()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_full_range(format):
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    photo = load_image(saved(Image.fromarray(values), format))
    expected = np.rint(values / 257).astype(int)
    assert np.abs(np.asarray(photo.image)[..., 0].astype(int) - expected).max() <= 1
    assert set(photo.notes) == {"grey", "sixteen_bit"}


def test_a_sixteen_bit_colour_png_opens():
    values = np.zeros((32, 40, 3), ">u2")
    values[..., 0] = 0x8000
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    photo = load_image(png(40, 32, depth=16, idat=zlib.compress(rows)))
    assert photo.image.getpixel((3, 3)) == (128, 0, 0)
    assert photo.notes == ("sixteen_bit",)


def test_floats_are_stretched_and_grey_and_cmyk_are_noted():
    values = np.linspace(-3, 7, 40 * 32, dtype=np.float32).reshape(32, 40)
    values[0, 1] = np.nan
    photo = load_image(saved(Image.fromarray(values), "TIFF"))
    assert photo.image.getextrema() == ((0, 255),) * 3
    assert photo.notes == ("grey", "range_stretched")
    assert load_image(saved(picture().convert("L"), "JPEG")).notes == ("grey",)
    cmyk = load_image(saved(picture().convert("CMYK"), "JPEG", quality=95))
    assert cmyk.notes == ("cmyk",)
    assert np.abs(np.asarray(cmyk.image, int) - np.asarray(picture(), int)).mean() < 5
    assert load_image(saved(lab(), "TIFF")).image.mode == "RGB"


def test_extreme_floats_keep_their_order():
    for values, expected in {
        (3.4e38, -3.4e38, 0.0, 1.0): (255, 0, 128, 128),
        (np.inf, -5.0, 0.0, 5.0): (128, 0, 128, 255),
        (1.0, 1.0, 1.0, 1.0): (0, 0, 0, 0),
    }.items():
        image = Image.fromarray(np.array(values, np.float32).reshape(2, 2))
        assert tuple(np.asarray(load_image(image).image)[..., 0].ravel()) == expected


def test_twelve_bits_are_scaled_by_their_full_range():
    """Pillow returns 12 bits as 16; read as 16, white was a sixteenth of white."""
    values = np.arange(64 * 48) * 4095 // (64 * 48 - 1)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    head = tiff((258, 3, 1, 12), (273, 4, 1, 4096), (279, 4, 1, 4608))
    photo = load_image(head[:4096].ljust(4096, b"\0") + packed.astype(np.uint8).tobytes())
    assert np.array_equal(np.asarray(photo.image)[..., 0].ravel(), np.rint(values * 255 / 4095))
    assert photo.notes == ("grey", "twelve_bit")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_rotated_once(orientation):
    """A phone writes the rotation twice, for HEIC and as EXIF; only the first counts."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture(64, 32)
    stored.info["exif"] = exif.tobytes()
    data = saved(stored, "HEIF", quality=95)
    upright = stored.transpose(decode._TURNS[orientation]) if orientation > 1 else stored
    photo = load_image(data)
    assert photo.format == "HEIF"
    assert photo.size == upright.size
    assert ("rotated" in photo.notes) == (orientation > 1)
    assert np.abs(np.asarray(photo.image, int) - np.asarray(upright, int)).mean() < 5
    of_exif_alone = load_image(saved(picture(64, 32), "HEIF", quality=95, exif=exif))
    assert (of_exif_alone.size, of_exif_alone.notes) == ((64, 32), ())


def lab():
    srgb, target = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(picture(), srgb, target, outputMode="LAB")


@pytest.mark.parametrize(
    ("format", "note"), [("GIF", "frame"), ("WEBP", "frame"), ("PNG", "frame"), ("TIFF", "page")]
)
def test_the_first_of_several_frames_is_shown(format, note):
    frames = [Image.new("RGB", (40, 32), colour) for colour in ("red", "blue", "lime")]
    photo = load_image(saved(frames[0], format, save_all=True, append_images=frames[1:]))
    red, green, blue = photo.image.getpixel((9, 9))
    assert red > 240
    assert max(green, blue) < 15
    assert photo.notes == (f"first_{note}",)


def test_embedded_profiles_are_converted_or_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert load_image(saved(picture(), "PNG", icc_profile=srgb)).notes == ()
    linear = bytearray(srgb)  # the same profile with its curves made linear and another name
    linear = bytes(linear).replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"sRGB", b"xRGB")
    at = linear.index(b"para", 132)
    linear = linear[: at + 12] + struct.pack(">i", 1 << 16) + linear[at + 16 :]
    photo = load_image(saved(picture(), "PNG", icc_profile=linear))
    assert photo.notes == ("icc_converted",)
    assert np.asarray(photo.image).mean() > np.asarray(picture()).mean() + 10  # linear light looks brighter
    for profile in (b"not a profile", linear[:200], b"\0" * (decode.MAX_ICC_BYTES + 1)):
        ignored = load_image(saved(picture(), "TIFF", icc_profile=profile))
        assert ignored.notes == ("icc_ignored",)
        assert np.array_equal(ignored.image, picture())
    grey = load_image(saved(picture().convert("L"), "PNG", icc_profile=linear))
    assert "icc_ignored" in grey.notes


# What does not open


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, extra=b"", depth=8, idat=b"x"):
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + extra + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def gif(extra, width=10, height=10):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + extra


def tiff(*changed):
    plain = [(256, 3, 1, 64), (257, 3, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags = {tag[0]: tag for tag in [*plain, (277, 3, 1, 1), (278, 3, 1, 48), (279, 4, 1, 3072), *changed]}
    entries = b"".join(struct.pack("<HHII", *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4004)


def jpeg_sized(width, height, data=None):
    data = data or small("JPEG")
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def scans(count):
    data = jpeg_sized(1000, 1000, saved(picture(), "JPEG", progressive=True))
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def packed(kind, size):
    return chunk(kind, b"k\0\0" + zlib.compress(bytes(size)))


HOSTILE = {
    "png 900 Mpx": (lambda: png(30000, 30000), "too_many_pixels"),
    "png 4e18 pixels": (lambda: png(2**31 - 1, 2**31 - 1), "too_many_pixels"),
    "png a line": (lambda: png(40000, 1), "too_narrow"),
    "png no width": (lambda: png(0, 10), "damaged"),
    "png without data": (lambda: png(7000, 7000, idat=zlib.compress(bytes(999))), "truncated"),
    "png text of 100 MB": (lambda: png(64, 48, packed(b"zTXt", 10**8)), "damaged"),
    "png profile of 100 MB": (lambda: png(64, 48, packed(b"iCCP", 10**8)), "damaged"),
    "png many profiles": (lambda: png(64, 48, packed(b"iCCP", 10**6) * 200), "too_complex"),
    "png million chunks": (lambda: png(64, 48, chunk(b"tESt", b"") * 10**6), "too_complex"),
    "png million empty data": (lambda: png(64, 48, chunk(b"IDAT", b"") * 10**5), "too_complex"),
    "gif canvas": (lambda: gif(b";", 65535, 65535), "too_many_pixels"),
    "gif frame": (
        lambda: gif(b"," + struct.pack("<4HB", 0, 0, 65535, 65535, 0) + b"\2\1\0\0;"),
        "too_many_pixels",
    ),
    "gif comments": (lambda: gif(b"!\xfe" + (b"\xff" + b"a" * 255) * 100_000 + b"\0;"), "too_complex"),
    "gif extensions": (lambda: gif(b"!\xfe\0" * 10**7), "too_complex"),
    "jpeg 4 Gpx": (lambda: jpeg_sized(65535, 65535), "too_many_pixels"),
    "jpeg segments": (lambda: small("JPEG")[:2] + b"\xff\xfe\0\2" * 10**7 + small("JPEG")[2:], "too_complex"),
    "jpeg filling": (lambda: small("JPEG")[:2] + b"\xff" * 10**7 + small("JPEG")[2:], "too_complex"),
    "jpeg scans": (lambda: scans(5000), "too_complex"),
    "webp canvas": (
        lambda: b"RIFF" + struct.pack("<I", 1000) + b"WEBPVP8X\x0a" + bytes(7) + b"\xff" * 6 + bytes(2000),
        "too_many_pixels",
    ),
    "webp chunks": (
        lambda: b"RIFF" + struct.pack("<I", 8 * 10**5) + small("WEBP")[8:] + b"JUNK\0\0\0\0" * 10**5,
        "too_complex",
    ),
    "bmp 900 Mpx": (
        lambda: small("BMP")[:18] + struct.pack("<ii", 30000, -30000) + small("BMP")[26:],
        "too_many_pixels",
    ),
    "bmp run lengths": (
        lambda: small("BMP")[:18] + struct.pack("<iiHHI", 6000, 6000, 1, 8, 1) + small("BMP")[34:],
        "too_complex",
    ),
    "bmp without data": (
        lambda: small("BMP")[:18] + struct.pack("<ii", 7000, 7000) + small("BMP")[26:],
        "truncated",
    ),
    "tiff size": (lambda: tiff((256, 4, 1, 10**6), (257, 4, 1, 10**6)), "too_many_pixels"),
    "tiff tile": (
        lambda: tiff((322, 4, 1, 2**31 - 1), (323, 4, 1, 2**31 - 1), (259, 3, 1, 5)),
        "too_complex",
    ),
    "tiff channels": (lambda: tiff((277, 3, 1, 65535)), "too_complex"),
    "tiff tags": (lambda: tiff(*((tag, 7, 4, 8) for tag in range(1000, 9000))), "too_complex"),
    "tiff overlapping tags": (lambda: tiff(*((tag, 7, 4000, 8) for tag in range(1000, 1400))), "damaged"),
    "tiff far directory": (lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(999), "truncated"),
    "nothing": (lambda: b"", "empty"),
    "zeros": (lambda: bytes(10**6), "not_an_image"),
    "text": (lambda: "這不是圖片".encode() * 9, "text"),
    "svg": (lambda: b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "unsupported"),
    "html": (lambda: b"<!DOCTYPE html><p>404", "unsupported"),
    "pdf": (lambda: b"%PDF-1.7\n", "unsupported"),
    "zip": (lambda: b"PK\3\4rest", "unsupported"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported"),
    "heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged"),
    "heic boxes": (lambda: b"\0\0\0\x10ftypheic\0\0\0\0" + b"\0\0\0\x08free" * 10**6, "too_complex"),
    "heic size": (
        lambda: re.sub(rb"(?<=ispe....).{8}", b"\0\0\xff\xff" * 2, small("HEIF")),
        "too_many_pixels",
    ),
    "too many bytes": (lambda: bytes(header.MAX_BYTES + 1), "too_many_bytes"),
}


OTHER_KINDS = {
    "PPM": (
        b"P6\n2 2\n255\n" + bytes(12),
        b"P2\n2 2\n255\n0 0 0 0",
        b"P5 # made by hand\n2 2 255 ",
        b"Pf\n2 2\n",
    ),
    "QOI": (b"qoif\0\0\0\2\0\0\0\2\3\0",),
    "PCX": (b"\x0a\5\1\x08" + bytes(124),),
    "ICNS": (b"icns\0\0\1\0ic07",),
    "TGA": (
        bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 24, 0]) + bytes(12),
        bytes([0, 1, 9, 0, 0, 0, 1, 24, 0, 0, 0, 0, 2, 0, 2, 0, 8, 0]) + bytes(12),
        bytes(60) + b"TRUEVISION-XFILE.\0",
    ),
    "ICO": (b"\0\0\1\0\1\0",),
    "DDS": (b"DDS \x7c\0\0\0",),
    "SGI": (b"\1\xda\1\1\0\3",),
    "XBM": (b"#define im_width 8\n",),
    "FITS": (b"SIMPLE  =                    T",),
    "OpenEXR": (b"\x76\x2f\x31\1\2\0\0\0",),
    "DICOM": (bytes(128) + b"DICM",),
    "camera raw": (b"\0\0\0\x18ftypcrx \0\0\0\1", b"FUJIFILMCCD-RAW 0201"),
    "AVI video": (b"RIFF\0\0\0\0AVI LIST",),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_picture_formats_are_refused_by_name(kind):
    for data in OTHER_KINDS[kind]:
        with pytest.raises(
            ImageError, match=f"format is {kind}; JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP and TIFF"
        ):
            load_image(data)


def test_valid_files_that_pillow_cannot_read_are_not_called_damaged():
    two_bits = small("BMP")[:28] + b"\2\0" + small("BMP")[30:]
    for data, kind, reason in (
        (two_bits, "BMP", "Unsupported BMP pixel depth"),
        (tiff((262, 3, 1, 32844), (258, 3, 1, 24)), "TIFF", "unknown pixel mode"),
        (small("HEIF").replace(b"hvc1", b"xvc1"), "HEIF", "Invalid input"),
    ):
        with pytest.raises(ImageError, match=rf"read this {kind} file \({reason}.*saving it as PNG"):
            load_image(data)
        assert code_of(data) == "variant"


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_end_in_one_sentence_quickly_and_without_memory(case):
    make, code = HOSTILE[case]
    data = make()
    began = time.process_time()  # others may compute beside it
    assert code_of(data) == code
    assert time.process_time() - began < 1
    tracemalloc.start()
    try:
        code_of(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


REFUSE = """
import pickle, sys
from cfviz.data.decode import load_image
from cfviz.data.header import ImageError

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def refuse(bombs):
    for bomb in bombs:
        try:
            load_image(bomb)
        except ImageError:
            continue
        sys.exit("opened")

bombs = pickle.load(open(sys.argv[1], "rb"))
refuse(bombs)
before = resident()
refuse(bombs * 20)
print(resident() - before)
"""


@pytest.mark.slow
def test_decompression_bombs_are_never_decoded(warm, tmp_path):
    """In a separate process, since threads left by other tests take memory too."""
    bombs = [png(30000, 30000), jpeg_sized(65535, 65535), png(7000, 7000, idat=zlib.compress(bytes(999)))]
    (tmp_path / "bombs").write_bytes(pickle.dumps(bombs))
    done = warm.run(["-c", REFUSE, str(tmp_path / "bombs")], check=True)
    assert int(done.stdout) < 32 * 2**20


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files_are_refused_rather_than_half_shown(format):
    data = small(format)
    for share in (0.2, 0.5, 0.8):
        assert code_of(data[: int(len(data) * share)]) in ("truncated", "damaged")


@pytest.mark.parametrize("format", FORMATS)
def test_one_flipped_bit_is_refused_wherever_pillow_refuses_it(format):
    """A PNG used to open up to 90 % black: the look-up of its orientation met the error first and hid it."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    data = saved(Image.fromarray(noise), format)
    for at in range(60, len(data) - 60, max(1, len(data) // 60)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        try:
            Image.open(io.BytesIO(flipped), formats=[format]).load()
        except Exception:
            with pytest.raises(ImageError):
                load_image(bytes(flipped))


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=1000, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files_open_or_are_refused(format, data):
    mutated = bytearray(small(format))
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers break in more ways than pixels do.
        at = data.draw(st.integers(0, 100) | st.integers(0, len(mutated) - 1)) % len(mutated)
        mutated[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = data.draw(st.integers(1, len(mutated)) | st.just(len(mutated)))
    try:
        photo = load_image(bytes(mutated[:cut]))
    except ImageError:
        return
    assert photo.image.mode == "RGB"
    assert photo.size[0] * photo.size[1] <= header.MAX_PIXELS


@given(st.binary(max_size=300))
def test_any_bytes_open_or_are_refused(data):
    with pytest.raises(ImageError):
        load_image(data)


def test_other_sources_are_refused(tmp_path):
    assert code_of(tmp_path / "none.jpg") == "missing"
    assert code_of(tmp_path) == "not_a_file"
    assert code_of("/dev/zero") == "not_a_file"
    assert code_of("https://example.org/a.jpg") == "url"
    assert code_of("a\0b") == "unreadable"
    assert code_of(3) == "source"
    assert code_of(io.StringIO("text")) == "source"
    for array in (
        np.zeros((4, 4)),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
    ):
        assert code_of(array) == "array"
    closed = io.BytesIO(b"x")
    closed.close()
    assert code_of(closed) == "unreadable"


def test_errors_can_be_pickled_and_are_translated():
    error = pickle.loads(pickle.dumps(ImageError("too_narrow", width=1, height=99, limit=32)))
    assert (error.code, error.fields["height"]) == ("too_narrow", 99)
    expected = {f"error_{code}" for code in header.SENTENCES} | {f"note_{code}" for code in decode.NOTES}
    for lang in ("en", "zh-Hant"):
        catalogue = json.loads((ASSETS / "translations" / lang / "images.json").read_text(encoding="utf-8"))
        assert set(catalogue) == expected
    english = json.loads((ASSETS / "translations" / "en" / "images.json").read_text(encoding="utf-8"))
    assert all(english[f"error_{code}"] == text for code, text in header.SENTENCES.items())


# What the model sees


@pytest.fixture(scope="module")
def photos():
    shapes = [(48, 32), (301, 457), (1000, 97), (224, 224)]
    return [load_image(picture(*shape)) for shape in shapes] + [load_image(gallery()[0].path)]


@pytest.mark.parametrize("size", [224, 256, 32, (224, 320), (96, 64)])
def test_the_crop_equals_timms_evaluation_transform_bit_for_bit(photos, size):
    config = resolve_data_config(pretrained_cfg={"crop_pct": 0.875, "interpolation": "bicubic"})
    shape = (size, size) if isinstance(size, int) else size
    config["input_size"] = (3, *shape)
    transform = create_transform(**config, is_training=False)
    for photo in photos:
        assert torch.equal(prepare(photo, size).tensor, transform(photo.image))


@pytest.mark.parametrize(("mode", "timms"), [("resize", "squash"), ("pad", "border")])
@pytest.mark.parametrize("size", [224, 64, (64, 224), (96, 32)])
def test_the_whole_photo_equals_timms_transform_bit_for_bit(photos, mode, timms, size):
    shape = (size, size) if isinstance(size, int) else size
    given = {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": timms}
    transform = create_transform((3, *shape), **given, is_training=False)
    for photo in photos:
        assert torch.equal(prepare(photo, size, mode).tensor, transform(photo.image))


def test_a_models_own_config_is_followed(photos):
    config = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "crop_pct": 0.9, "interpolation": "bilinear"}
    transform = create_transform((3, 96, 96), **config, is_training=False)
    ready = prepare(photos[1], 96, data_config=config)
    assert torch.equal(ready.tensor, transform(photos[1].image))
    assert np.array_equal(unnormalise(ready.tensor, ready.mean, ready.std), ready.crop)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [64, (64, 96), (160, 32)])
def test_unnormalising_gives_back_the_crop_exactly(photos, mode, size):
    for photo in photos:
        ready = prepare(photo, size, mode)
        height, width = (size, size) if isinstance(size, int) else size
        assert ready.crop.size == (width, height)
        assert ready.tensor.shape == (3, height, width)
        assert ready.tensor.dtype == torch.float32
        assert np.array_equal(unnormalise(ready.tensor), ready.crop)


def test_every_pixel_value_survives_normalising():
    ramp = Image.fromarray(
        np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (2, 2))[..., None].repeat(3, -1)
    )
    ready = prepare(load_image(ramp), 32, "resize")
    assert np.array_equal(unnormalise(ready.tensor), ramp)


def test_the_box_of_a_crop_is_where_it_was_cut():
    # Coordinates painted into the photo appear where the box says.
    photo = load_image(picture(640, 400))
    crop = prepare(photo, 224)
    assert crop.box == pytest.approx((145, 25, 495, 375), abs=1.5)
    assert crop.photo_box == (0, 0, 224, 224)
    for mode in MODES:
        ready = prepare(photo, (224, 256), mode)
        left, top, right, bottom = ready.photo_box
        for x, y in [(left + 20.5, top + 20.5), (right - 20.5, bottom - 20.5)]:
            at = ready.to_photo(x, y)
            red, green, _ = ready.crop.getpixel((int(x), int(y)))
            assert red == pytest.approx(255 * at[0] / 640, abs=2)
            assert green == pytest.approx(255 * at[1] / 400, abs=2)


def test_pad_keeps_the_shape_and_fills_with_the_mean():
    ready = prepare(load_image(picture(640, 320)), 224, "pad")
    assert ready.photo_box == (0, 56, 224, 168)
    assert ready.box == pytest.approx((0, -160, 640, 480))
    assert ready.crop.getpixel((100, 10)) == (124, 116, 104)
    assert ready.scale[0] == pytest.approx(ready.scale[1])


@pytest.mark.slow
def test_narrow_photos_stay_within_bounds():
    for shape in [(32, 1), (1, 32), (1, 1)]:
        for mode in MODES:
            assert prepare(load_image(picture(*shape)), (32, 1024), mode).crop.size == (1024, 32)


def test_a_moved_crop_shows_the_part_that_its_box_names():
    photo = load_image(picture(640, 200))
    middle, left, right = (prepare(photo, 96, centre=(x, 0.9)) for x in (0.5, 0.0, 0.71))
    assert torch.equal(middle.tensor, prepare(photo, 96).tensor) is False  # 0.9 moves it down
    assert left.frame.corner == (0, 109 - 96)
    for ready in (middle, left, right):
        assert ready.frame.corner[0] >= 0
        for x, y in [(20.5, 20.5), (75.5, 60.5)]:
            at = ready.to_photo(x, y)
            red, green, _ = ready.crop.getpixel((int(x), int(y)))
            assert red == pytest.approx(255 * at[0] / 640, abs=2)
            assert green == pytest.approx(255 * at[1] / 200, abs=2)
    for mode in ("pad", "resize"):  # they show the whole photo: there is nothing to move
        assert torch.equal(prepare(photo, 96, mode, centre=(0, 0)).tensor, prepare(photo, 96, mode).tensor)
    with pytest.raises(ValueError, match=r"centre \(0.5, 1.5\) is not two shares from 0 to 1"):
        prepare(photo, 96, centre=(0.5, 1.5))


@pytest.mark.parametrize("size", [225, (224, 230), 0, -32, 2080, (64, 64, 64), "224", 224.0])
def test_impossible_sizes_are_refused(photos, size):
    with pytest.raises(ValueError, match="input"):
        prepare(photos[0], size)


def test_size_errors_name_both_sides_and_the_nearest():
    with pytest.raises(ValueError, match=r"230 x 320 .*height: 224 or 256, for the width: 320"):
        prepare(load_image(picture()), (230, 320))
    with pytest.raises(ValueError, match="'crop', 'resize', 'pad'"):
        prepare(load_image(picture()), 224, "squash")
