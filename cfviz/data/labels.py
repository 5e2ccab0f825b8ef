"""Names of a model's classes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cfviz.bundled import ASSETS
from cfviz.provenance import DATASETS

LANGUAGES = ("en", "zh-Hant")
# Imagenette and Imagewoof together, by WordNet id: English, Traditional Chinese.
_TWENTY = {
    "n01440764": ("tench", "丁鱥"),
    "n02086240": ("Shih-Tzu", "西施犬"),
    "n02087394": ("Rhodesian ridgeback", "羅得西亞脊背犬"),
    "n02088364": ("beagle", "米格魯"),
    "n02089973": ("English foxhound", "英國獵狐犬"),
    "n02093754": ("Border terrier", "邊境㹴"),
    "n02096294": ("Australian terrier", "澳洲㹴"),
    "n02099601": ("golden retriever", "黃金獵犬"),
    "n02102040": ("English springer", "英國史賓格犬"),
    "n02105641": ("Old English sheepdog", "英國古代牧羊犬"),
    "n02111889": ("Samoyed", "薩摩耶犬"),
    "n02115641": ("dingo", "澳洲野犬"),
    "n02979186": ("cassette player", "卡式錄音機"),
    "n03000684": ("chain saw", "鏈鋸"),
    "n03028079": ("church", "教堂"),
    "n03394916": ("French horn", "法國號"),
    "n03417042": ("garbage truck", "垃圾車"),
    "n03425413": ("gas pump", "加油機"),
    "n03445777": ("golf ball", "高爾夫球"),
    "n03888257": ("parachute", "降落傘"),
}
PICTURED = {"coco": 80, "ade20k": 150}  # data sets of boxes and of label maps, and their numbers of classes
GROUND = ("ground", "背景")  # of a composed scene: its last class
# Classes whose first name in WordNet is also another class's.
_TOLD_APART = {"n02012849": "crane (bird)", "n03126707": "crane (machine)", "n03710721": "tank suit"}


def labels(source: object, lang: str = "en") -> list[str]:
    """Class names, in the order of the model's outputs.

    Traditional Chinese names of ImageNet's 1000 classes come from `assets/labels/imagenet-1k.zh-Hant.json`,
    by WordNet id, in the terms used in Taiwan. The translation is our own; classes for which it was uncertain
    (barracouta, sunglass) keep their English names.

    The names of COCO's and ADE20K's classes come from `assets/labels`, in the order of the authors' detectors
    and segmenters; their Chinese names are our own, too.

    Args:
        source: "imagenet-1k", "imagenette20", "coco", "ade20k", "scenes" (imagenette20's and the ground), a
            number of classes, or a model with `num_classes`. For numbers other than 1000 and 20 the names
            are "class 0", "class 1" and so on.
        lang: "en" or "zh-Hant".

    Raises:
        ValueError: If the data set or the language is unknown, or the source has no classes.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"no labels in language {lang!r}; there are {', '.join(LANGUAGES)}")
    if isinstance(source, str) and source in PICTURED:
        return [row[-2:][LANGUAGES.index(lang)] for row in _rows(source)]
    if source == "scenes":
        return [*_labels("imagenette20", lang), GROUND[LANGUAGES.index(lang)]]
    dataset = dataset_of(source)
    if isinstance(dataset, int):
        return numbered(dataset, lang)
    return list(_labels(dataset, lang))


def numbered(count: int, lang: str = "en") -> list[str]:
    """Names of classes of which nothing is known; their number alone does not tell the data set."""
    word = "class" if lang == "en" else "類別"
    return [f"{word} {index}" for index in range(count)]


def coco_ids() -> list[int]:
    """The category ids that COCO's files use, in the order of a detector's outputs: 1 to 90 with gaps."""
    return [int(row[0]) for row in _rows("coco")]


@lru_cache(maxsize=2)
def _rows(dataset: str) -> list[list[Any]]:
    """Rows that end in the English and the Chinese name of a class."""
    path = ASSETS / "labels" / f"{dataset}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def dataset_of(source: object) -> str | int:
    """The data set that the classes belong to, or their number if it is none of ours.

    Raises:
        ValueError: If the data set is unknown, or the source has no classes.
    """
    if isinstance(source, str):
        if source not in DATASETS:
            raise ValueError(f"data set {source!r} is not known; there are {', '.join(DATASETS)}")
        return source
    number = source if isinstance(source, int) else getattr(source, "num_classes", None)
    if not isinstance(number, int) or number < 0:
        raise ValueError(
            f"{type(source).__name__} has no num_classes; expected a data set, a number or a model"
        )
    return {1000: "imagenet-1k", 20: "imagenette20"}.get(number, number)


def wordnet_id(folder: str) -> str | None:
    """The WordNet id at the start of a class folder's name, as in `n01440764_tench`, or None."""
    found = re.match(r"n\d{8}(?=_|$)", folder)
    return found[0] if found else None


def dataset_of_folders(folders: Sequence[str]) -> str | None:
    """The data set whose classes are exactly these folders, in order, or None."""
    ids = [wordnet_id(folder) for folder in folders]
    return next((dataset for dataset in DATASETS if ids == wordnet_ids(dataset)), None)


def folder_label(folder: str, lang: str = "en") -> str:
    """The label for a class folder: ImageNet's if the name begins with a WordNet id of one of its classes."""
    return _by_id(lang).get(wordnet_id(folder) or "", folder)


@lru_cache(maxsize=2)
def _by_id(lang: str) -> dict[str, str]:
    return dict(zip(wordnet_ids("imagenet-1k"), _labels("imagenet-1k", lang), strict=True))


def wordnet_ids(dataset: str) -> list[str]:
    """WordNet ids of the classes in sorted order, which is the order of the model's outputs.

    Raises:
        ValueError: If the data set is unknown.
    """
    if dataset_of(dataset) == "imagenette20":
        return list(_TWENTY)
    return list(_imagenet().label_names())


def all_imagenets(ids: Sequence[str | None]) -> bool:
    """Whether these are WordNet ids of classes of ImageNet-1K, without exception."""
    return set(ids) <= set(_TWENTY) or set(ids) <= set(wordnet_ids("imagenet-1k"))


@lru_cache(maxsize=1)
def _imagenet() -> Any:
    from timm.data import ImageNetInfo  # deferred: timm takes a second to import

    return ImageNetInfo("imagenet-1k")


@lru_cache(maxsize=8)
def _labels(dataset: str, lang: str) -> tuple[str, ...]:
    if dataset == "imagenette20":
        return tuple(names[LANGUAGES.index(lang)] for names in _TWENTY.values())
    english = {id: _imagenet().label_name_to_description(id).split(",")[0] for id in wordnet_ids(dataset)}
    english |= _TOLD_APART | {id: names[0] for id, names in _TWENTY.items()}
    if lang == "en":
        return tuple(english.values())
    chinese = {id: names[1] for id, names in _TWENTY.items()}
    path = ASSETS / "labels" / "imagenet-1k.zh-Hant.json"
    chinese = json.loads(path.read_text(encoding="utf-8")) | chinese
    return tuple(chinese.get(id, name) for id, name in english.items())
