"""Recipes are read strictly."""

from pathlib import Path

import pytest

from cfviz.training import recipe

CONFIGS = sorted((Path(recipe.__file__).parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_in_the_repository_can_be_read(path: Path) -> None:
    loaded = recipe.load(path)
    assert loaded.phases[-1].size == 224
    assert loaded.epochs == sum(phase.epochs for phase in loaded.phases)
    assert recipe.from_dict(loaded.as_dict()) == loaded


def test_overrides_are_yaml() -> None:
    loaded = recipe.load(CONFIGS[0], ["lr=0.5", "teacher=null", "scale=[0.1, 1]", "data=elsewhere"])
    assert (loaded.lr, loaded.teacher, loaded.scale, loaded.data) == (0.5, None, [0.1, 1], "elsewhere")


def test_phases_follow_each_other() -> None:
    phases = [{"size": 64, "group_size": 2, "epochs": 2}, {"size": 96, "group_size": 3, "epochs": 1}]
    loaded = recipe.from_dict({"data": "photos", "phases": phases, "batch_size": 10})
    assert [loaded.phase_at(epoch).size for epoch in range(4)] == [64, 64, 96, 96]
    assert loaded.steps(loaded.phases[0], 105) == 10
    assert loaded.steps(recipe.Phase(64, 2, 1, steps=3), 105) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1}, "unknown learning_rate; expected some of data"),
        ({"phases": []}, "without phases"),
        ({"phases": [{"size": 100, "group_size": 3, "epochs": 1}]}, "multiple of 32"),
        ({"phases": [{"px": 64}]}, "unknown px"),
        ({"batch_size": 7}, "an even one"),
        ({"transform": "heavy"}, "transform='heavy', expected one of timm, light"),
        ({"teacher_maps": "maps.npy"}, "follow a crop, with transform=timm, mixup=0.8 and cutmix=1.0"),
        ({"position_bias": "ape"}, "position_bias='ape'"),
        ({"data": None}, "no data"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    values = {"data": "x", "phases": [{"size": 64, "group_size": 2, "epochs": 1}], **change}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        recipe.from_dict(values)


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe at"):
        recipe.load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected a mapping"):
        recipe.load(tmp_path / "list.yaml")
    with pytest.raises(ValueError, match="key=value"):
        recipe.load(CONFIGS[0], ["lr"])
