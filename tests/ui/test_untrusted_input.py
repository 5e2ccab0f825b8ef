"""Untrusted input from a reader: text that stays text, uploads within limits, no pickled weights."""

from __future__ import annotations

import io
import secrets
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from cfviz.cli import main
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import CheckpointError, load_checkpoint, write_checkpoint
from cfviz.ui.compute import models
from cfviz.ui.session import photos
from cfviz.ui.session.plain import GLUE, explain, plain, plain_fields
from cfviz.ui.widgets import weights
from cfviz.words import LANGUAGES, translator
from tests.pages.test_shown_code import page

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "https://evil.example www.evil.example mail@evil.example",
    ":red[seen] :material/home: :smile: $x^2$ -> `code` **bold** _it_",
    "a\nb\r\n# title\u2028- list\u202eexe",
    "</script><script>alert(1)</script>",
    '"><svg/onload=alert(1)>',
    "&lt;b&gt; &#60;",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_escaped_and_nothing_is_lost(text: str) -> None:
    said = plain(text)
    unescaped = []
    at = 0
    while at < len(said):
        if said[at] == "\\":
            at += 1
        else:
            assert said[at].isalnum() or not said[at].isascii() or said[at] == " ", said
        unescaped.append(said[at])
        at += 1
    back = "".join(unescaped).replace(GLUE, "")
    assert back == " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert "\n" not in said
    assert "://" not in said.replace("\\", "")


def test_long_text_is_cut_and_numbers_are_kept() -> None:
    assert len(plain("a" * 500)) == 200
    assert plain("abc", 2) == "a…"
    assert plain_fields({"n": 3, "name": "a_b"}) == {"n": 3, "name": "a\\_b"}


# ---------------------------------------------------------------- photos


class Upload(io.BytesIO):
    """The part of Streamlit's uploaded file that is used."""

    def __init__(self, data: bytes, name: str, size: int | None = None) -> None:
        super().__init__(data)
        self.name, self.file_id, self.size = name, f"{name}-{len(data)}-{id(self)}", size or len(data)


def png(side: int, shade: int = 0, **options: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 0)).save(out, "PNG", **options)
    return out.getvalue()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    state: dict[str, object] = {}
    monkeypatch.setattr(photos, "st", SimpleNamespace(session_state=state))
    monkeypatch.setattr(photos, "change", lambda **values: state.update(values))
    browser = secrets.token_hex()  # each test is another reader
    monkeypatch.setattr(photos.reader, "browser", lambda: browser)
    return state


def test_photos_are_kept_as_bytes_within_number_and_size(session, monkeypatch) -> None:
    monkeypatch.setattr(photos, "MAX_OWN", 3)
    files = [Upload(png(64, shade), f"{shade}.png") for shade in range(5)]
    assert photos.take(files) == (True, [])
    assert [one.name for one in photos.own().values()] == ["2.png", "3.png", "4.png"]
    assert session["photo"] == list(photos.own())[-1]
    monkeypatch.setattr(photos, "MAX_OWN_BYTES", sum(len(file.getvalue()) for file in files[3:]) + 1)
    photos.take([*files, Upload(png(64, 9), "9.png")])
    assert [one.name for one in photos.own().values()] == ["4.png", "9.png"]
    assert photos.photo(session["photo"]).image.getpixel((0, 0)) == (9, 0, 0)


def test_of_thirty_photos_dropped_at_once_none_vanishes_unmentioned(session) -> None:
    files = [Upload(png(32, shade), f"{shade}.png") for shade in range(30)]
    assert photos.take(files) == (True, [])
    assert len(photos.own()) == photos.MAX_OWN == 24
    assert photos.made_room(files) == [f"{shade}.png" for shade in range(6)]
    assert photos.take(files) == (False, [])
    assert photos.made_room(files) == [f"{shade}.png" for shade in range(6)], "said as long as they lie there"
    assert photos.made_room(files[6:]) == []


def test_opened_photos_are_bounded_by_pixels_for_all_readers(session, monkeypatch) -> None:
    monkeypatch.setattr(photos, "_opened", photos._room(2 * 64 * 64))
    photos.take([Upload(png(64, shade), f"{shade}.png") for shade in range(10, 15)])
    assert len(photos._opened) == 2
    first = next(iter(photos.own()))
    assert photos.photo(first).image.getpixel((0, 0)) == (10, 0, 0), "opened anew"
    assert len(photos._opened) == 2


@pytest.mark.slow
def test_limits_of_a_photo_hold_whatever_the_browser_allowed(session) -> None:
    heavy = Upload(png(32), "heavy.png", size=photos.MAX_BYTES + 1)
    broad = Upload(png(8000, compress_level=1), "broad.png")
    text = Upload(b"<svg onload=alert(1)>", "picture.png")
    added, refused = photos.take([heavy, broad, text])
    assert not added
    codes = {name: error.code for name, error in refused}
    assert codes["heavy.png"] == "too_many_bytes"
    assert codes["broad.png"] == "too_many_pixels"
    assert codes["picture.png"] in ("text", "unsupported")
    assert photos.own() == {}
    assert photos.take([heavy])[1][0][0] == "heavy.png", "said again, not opened again"


def uploads() -> None:
    """Run the upload field alone, in Chinese."""
    from types import SimpleNamespace

    from cfviz.ui.widgets.photos import add_photos
    from cfviz.words import translator

    add_photos(SimpleNamespace(t=translator("zh-Hant")), "here")


def test_the_upload_field_leaves_refusals_to_us() -> None:
    """Given a list of types, Streamlit would refuse the others first, in English only."""
    app = AppTest.from_function(uploads).run()
    door = app.get("file_uploader")[0]
    assert list(door.proto.type) == []
    door.upload("holiday.psd", b"8BPS\0\1rest", "image/vnd.adobe.photoshop")
    app.run()
    assert "檔案格式為 Photoshop；可開啟" in app.error[0].value


# ---------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=3).state_dict()
    return {key: value.contiguous() for key, value in made.items()}


def test_browsers_may_upload_safetensors_only(state) -> None:
    pickled = io.BytesIO()
    torch.save({"model": state}, pickled)
    assert weights.TYPES == ["safetensors"]
    for name in ("weights.pth", "weights.safetensors"):  # whatever its name
        with pytest.raises(CheckpointError) as caught:
            weights._opened(Upload(pickled.getvalue(), name))
        assert caught.value.code == "pickle_refused"
        assert "cfviz convert" in str(caught.value)
    assert weights._opened(Upload(safetensors.torch.save(state), "mine.safetensors")).num_classes == 3
    with pytest.raises(CheckpointError) as caught:
        weights._opened(Upload(b"x", "large.safetensors", size=weights.MAX_MB * 2**20 + 1))
    assert caught.value.code == "too_heavy"


@pytest.mark.parametrize("channels", [1, 6])
def test_a_model_for_images_other_than_photos_is_refused(state, channels: int) -> None:
    made = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=3, in_chans=channels).state_dict()
    file = Upload(safetensors.torch.save({k: v.contiguous() for k, v in made.items()}), "x.safetensors")
    with pytest.raises(
        CheckpointError, match=f"x.safetensors .* {channels} channels; photos have 3"
    ) as caught:
        weights._opened(file)
    for lang in LANGUAGES:
        said = explain(translator(lang), caught.value)
        assert said != "errors.checkpoint_channels"
        assert str(channels) in said


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_error_about_weights_is_shown_whole(lang: str) -> None:
    """The list of layers ended in the middle of a name, after 200 letters."""
    missing = ", ".join(f"layers.2.blocks.{n}.attn.qkv.weight" for n in range(10))
    assert 300 < len(missing) <= 400
    error = CheckpointError("keys", source="x.safetensors", variant="nano", missing=missing, unexpected="end")
    said = explain(translator(lang), error).replace("\\", "").replace("\u2060", "")
    assert missing in said
    assert "…" not in said


def test_the_advice_in_the_refusal_works(state, tmp_path, capsys) -> None:
    source, out = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    torch.save({"model": state, "epoch": 7}, source)
    assert main(["convert", str(source), str(out)]) == 0
    assert "crossformer_nano, 3 classes" in capsys.readouterr().out
    before, after = load_checkpoint(source), load_checkpoint(out.read_bytes(), allow_pickle=False)
    assert before.trained == after.trained
    assert all(torch.equal(after.state_dict[key], value) for key, value in before.state_dict.items())
    assert main(["convert", str(source), str(out)]) != 0, "nothing is written over"
    assert main(["convert", str(source), str(tmp_path / "weights.pth.pt")]) != 0
    assert {path.name for path in tmp_path.iterdir()} == {"weights.pth", "weights.safetensors"}


def test_titles_of_own_weights_are_letters_and_digits(monkeypatch) -> None:
    model = SimpleNamespace(
        provenance=SimpleNamespace(source='<a href="//evil.example">x</a>(1).safetensors')
    )
    monkeypatch.setattr(models, "own", lambda: {"own-1": model})
    assert models.title("own-1") == "a hrefevil.examplexa1.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "lab", "attention", "embedding", "position_bias"])
def test_names_of_classes_stay_text(name: str, tmp_path: Path) -> None:
    """A file of weights may call its classes anything; what is said of them in Markdown shows just that."""
    called = "__a__ <img src=//evil.example>"
    path = tmp_path / "mine.safetensors"
    write_checkpoint(
        path,
        CrossFormer(**VARIANTS["crossformer_nano"], num_classes=1).state_dict(),
        classes=[called],
        trained="x",
    )
    app = page(name, build(load_checkpoint(path)), model="own-0", lang="en", open="all", size="64")
    assert not app.exception
    said = [one.value for one in (*app.markdown, *app.caption)]
    assert any(plain(called) in text for text in said)
    assert not [text for text in said if called in text or called[:25] in text]
