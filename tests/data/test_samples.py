"""The gallery: every photo exists, opens, and credits its author in both languages."""

import json

import pytest
from PIL import Image

from cfviz.bundled import ASSETS
from cfviz.cli import main
from cfviz.data.images import load_image
from cfviz.data.samples import GALLERY, gallery, sample


def test_there_are_sixteen_photos_with_credits():
    photos = gallery()
    assert len(photos) == len({photo.id for photo in photos}) == 16
    assert {photo.path for photo in photos} == set(GALLERY.glob("*.jpg"))
    for photo in photos:
        assert Image.open(photo.path).size == photo.size
        assert photo.license in ("CC0-1.0", "Public Domain")
        assert photo.author
        assert photo.licence_stated_in
        assert photo.id == photo.id.lower()
        assert "cathedral" in photos[0].id


def test_photos_open_unchanged():
    for photo in gallery():
        opened = load_image(photo.path)
        assert (opened.size, opened.notes, opened.name) == (photo.size, (), photo.path.name)


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_titles_exist_in_both_languages(lang):
    titles = json.loads((ASSETS / "translations" / lang / "gallery.json").read_text(encoding="utf-8"))
    assert set(titles) == {photo.id for photo in gallery()}
    assert all(photo.title_key == f"gallery.{photo.id}" for photo in gallery())


def test_photos_are_found_by_id():
    assert sample("worms-cathedral") in gallery()
    with pytest.raises(ValueError, match="worms-cathedral"):
        sample("nowhere")


@pytest.mark.slow
def test_a_bundled_photo_can_be_named_in_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for photo in gallery():
        assert load_image(photo.typed).sha256 == load_image(photo.path).sha256
    with pytest.raises(ValueError, match=r"no photo 'wild' in the gallery; there are .*german-shepherd"):
        load_image("gallery:wild")
    assert main(["predict", "gallery:german-shepherd", "--size", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["photo"] == "gallery:german-shepherd"
    assert main(["predict", "gallery:wild"]) == 2
    assert "no photo 'wild' in the gallery" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_of_a_bundled_photo_can_be_reproduced_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(sample("german-shepherd").path)
    assert main(["report", path, "--out", "report.html", "--size", "64", "--no-parts"]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "gallery:german-shepherd" in page
    assert "assets/gallery" not in page
    assert str(sample("german-shepherd").path.parent) not in page
