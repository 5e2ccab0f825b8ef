"""The gallery: every photo is there, opens, and thanks its author in both languages."""

import json

import pytest
from PIL import Image

from cfviz.bundled import ASSETS
from cfviz.data.images import load_image
from cfviz.data.samples import GALLERY, gallery, sample


def test_sixteen_photos_with_credits():
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
def test_titles(lang):
    titles = json.loads((ASSETS / "translations" / lang / "gallery.json").read_text(encoding="utf-8"))
    assert set(titles) == {photo.id for photo in gallery()}
    assert all(photo.title_key == f"gallery.{photo.id}" for photo in gallery())


def test_by_id():
    assert sample("worms-cathedral") in gallery()
    with pytest.raises(ValueError, match="worms-cathedral"):
        sample("nowhere")
