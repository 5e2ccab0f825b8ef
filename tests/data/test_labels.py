"""Class names: in output order, in both languages, without duplicates."""

import json
import re
from types import SimpleNamespace

import pytest

from cfviz.bundled import ASSETS
from cfviz.data.labels import coco_ids, labels, wordnet_ids

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize(("dataset", "count"), [("imagenet-1k", 1000), ("imagenette20", 20)])
def test_names_are_in_output_order(dataset, count):
    ids = wordnet_ids(dataset)
    assert ids == sorted(ids)
    assert len(set(ids)) == count
    for lang in ("en", "zh-Hant"):
        names = labels(dataset, lang)
        assert len(names) == count
        assert len(set(names)) == count
        assert all(name.strip() == name != "" for name in names)


def test_known_classes_have_known_indices():
    names = labels("imagenet-1k")
    assert (names[0], names[207], names[497], names[574]) == (
        "tench",
        "golden retriever",
        "church",
        "golf ball",
    )
    assert labels("imagenette20")[14] == "church"
    assert labels("imagenette20", "zh-Hant")[14] == "教堂"


def test_the_twenty_classes_have_imagenets_names():
    for lang in ("en", "zh-Hant"):
        thousand = dict(zip(wordnet_ids("imagenet-1k"), labels("imagenet-1k", lang), strict=True))
        for id, name in zip(wordnet_ids("imagenette20"), labels("imagenette20", lang), strict=True):
            assert thousand[id] == name


def test_chinese_names_are_chinese():
    assert all(HAN.search(name) for name in labels("imagenette20", "zh-Hant"))
    path = ASSETS / "labels" / "imagenet-1k.zh-Hant.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    assert set(given) <= set(wordnet_ids("imagenet-1k"))
    assert all(HAN.search(name) for name in given.values())
    assert sum(not HAN.search(name) for name in labels("imagenet-1k", "zh-Hant")) == 1000 - len(given) == 2


def test_names_for_models_and_for_other_numbers_of_classes():
    assert labels(SimpleNamespace(num_classes=20)) == labels("imagenette20")
    assert labels(1000) == labels("imagenet-1k")
    assert labels(3) == ["class 0", "class 1", "class 2"]
    assert labels(2, "zh-Hant") == ["類別 0", "類別 1"]


@pytest.mark.parametrize(
    ("source", "lang"), [("imagenet-21k", "en"), (20, "fr"), (object(), "en"), (-1, "en")]
)
def test_unknown_lists_are_refused(source, lang):
    with pytest.raises(ValueError, match=r"known|language|classes"):
        labels(source, lang)


@pytest.mark.parametrize(("dataset", "count"), [("coco", 80), ("ade20k", 150)])
def test_names_of_boxes_and_of_label_maps(dataset, count):
    for lang in ("en", "zh-Hant"):
        names = labels(dataset, lang)
        assert len(names) == len(set(names)) == count
        assert all(name.strip() == name != "" for name in names)
    assert all(HAN.search(name) for name in labels(dataset, "zh-Hant"))
    assert not any(HAN.search(name) for name in labels(dataset))


def test_a_composed_scene_has_the_twenty_classes_and_the_ground_last():
    assert labels("scenes") == [*labels("imagenette20"), "ground"]
    assert labels("scenes", "zh-Hant") == [*labels("imagenette20", "zh-Hant"), "背景"]


def test_cocos_names_and_numbers_are_those_that_torchvision_records():
    from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

    recorded = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    used = [number for number, name in enumerate(recorded) if name not in ("__background__", "N/A")]
    assert coco_ids() == used
    assert labels("coco") == [recorded[number] for number in used]


def test_known_classes_of_ade20k():
    names = labels("ade20k")
    assert (names[0], names[2], names[12], names[20], names[149]) == ("wall", "sky", "person", "car", "flag")
