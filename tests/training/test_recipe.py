"""Recipes are read strictly, and mistakes are named."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from cfviz.cli import main
from cfviz.training import recipe

CONFIGS = sorted(recipe.CONFIGS.glob("*.yaml"))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_a_bundled_recipe_is_found_by_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in CONFIGS:
        assert recipe.load(path.stem) == recipe.load(path)
        assert recipe.load(path.name) == recipe.load(path)
    with pytest.raises(ValueError, match=r"no recipe at wild, and none that comes with cfviz: .*nano_cpu"):
        recipe.load("wild")
    (tmp_path / "nano").write_text(CONFIGS[-1].read_text())
    assert recipe.load("nano") == recipe.load(CONFIGS[-1]), "a file of one's own comes first"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_in_the_repository_can_be_read(path: Path) -> None:
    loaded = recipe.load(path)
    assert loaded.phases[-1].size == (64 if path.stem == "nano_pp" else 224)
    assert loaded.epochs == sum(phase.epochs for phase in loaded.phases)
    assert recipe.from_dict(loaded.as_dict()) == loaded


def test_overrides_are_yaml() -> None:
    loaded = recipe.load(CONFIGS[0], ["lr=0.5", "teacher=null", "scale=[0.1, 1]", "data=elsewhere"])
    assert (loaded.lr, loaded.teacher, loaded.scale, loaded.data) == (0.5, None, [0.1, 1], "elsewhere")


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "+1e-3", ".1e-2", "10e-4"])
def test_numbers_may_be_written_like_1e_3(text: str) -> None:
    """YAML 1.1 reads `1e-3` as text, which AdamW then met in the middle of the first step."""
    assert recipe.load(CONFIGS[0], [f"lr={text}"]).lr == 1e-3


def test_phases_follow_each_other() -> None:
    phases = [{"size": 64, "group_size": 2, "epochs": 2}, {"size": 96, "group_size": 3, "epochs": 1}]
    loaded = recipe.from_dict({"data": "photos", "phases": phases, "batch_size": 10})
    assert [loaded.phase_at(epoch).size for epoch in range(4)] == [64, 64, 96, 96]
    assert loaded.steps(loaded.phases[0], 105) == 10
    assert loaded.steps(recipe.Phase(64, 2, 1, steps=3), 105) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1}, "there is no setting learning_rate; a recipe has data, phases"),
        ({"batchsize": 8}, r"there is no setting batchsize; did you mean batch_size\?"),
        ({"epochs": 3}, "epochs is a setting of each of the phases"),
        (
            {"phases": [{"size": 64, "group_size": 2, "epochs": 1, "lr": 1}]},
            "phase 1: there is no setting lr; lr is a setting of the whole recipe",
        ),
        ({"phases": []}, "without phases"),
        ({"phases": [{"size": 100, "group_size": 3, "epochs": 1}]}, "multiple of 32"),
        ({"phases": [{"px": 64}]}, "phase 1: there is no setting px; a phase has size, group_size"),
        ({"batch_size": 7}, "an even one"),
        ({"transform": "heavy"}, "transform is 'heavy', expected timm or light"),
        ({"teacher_maps": "maps.npy"}, "follow a crop, with transform=timm, mixup=0.8 and cutmix=1.0"),
        ({"position_bias": "ape"}, "position_bias is 'ape', expected dpb or rpb or none"),
        ({"data": None}, "no data"),
        ({"phases": 7}, "phases is 7, expected a list of {size, group_size, epochs}"),
        ({"phases": [7]}, "phase 1 is 7, expected a mapping"),
        ({"phases": [{"size": 64, "epochs": 1}]}, "phase 1: no group_size"),
        ({"phases": [{"size": "64", "group_size": 2, "epochs": 1}]}, "size is '64', expected a whole number"),
        ({"phases": [{"size": 64, "group_size": 0, "epochs": 1}]}, "group_size is 0, expected G from 1 up"),
        (
            {"phases": [{"size": 64, "group_size": [7, 7], "epochs": 1}]},
            "expected G from 1 up, one number",
        ),
        ({"phases": [{"size": 64, "group_size": 2, "epochs": 0}]}, "epochs is 0, expected 1 or more"),
        (
            {"phases": [{"size": 64, "group_size": 2, "epochs": 1, "interval": "far"}]},
            "expected a list",
        ),
        ({"lr": "fast"}, "lr is 'fast', expected a number"),
        ({"lr": -1}, "lr is -1, expected more than 0"),
        ({"lr": float("nan")}, "lr is nan, expected a number"),
        ({"seed": True}, "seed is True, expected a whole number"),
        ({"scale": [1, 0.1]}, "expected two numbers above 0, the smaller one first"),
        ({"betas": [0.9]}, "expected two numbers from 0"),
        ({"evaluate_every": 0}, "evaluate_every is 0, expected 1 or more"),
        ({"hold_out": 1}, "expected a share from 0 to below 1"),
        ({"model": "resnet18"}, "model is 'resnet18', expected one of crossformer_nano"),
        ({"redraw": "layers"}, "redraw is 'layers', expected a list, each text"),
        ({"teacher": 3}, "teacher is 3, expected text or null"),
        ({5: 1}, "there is no setting 5"),
    ],
)
def test_mistakes_are_refused_by_name(change: dict, message: str) -> None:
    values = {"data": "x", "phases": [{"size": 64, "group_size": 2, "epochs": 1}], **change}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        recipe.from_dict(values)


def test_missing_and_malformed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe at"):
        recipe.load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected a mapping"):
        recipe.load(tmp_path / "list.yaml")
    with pytest.raises(ValueError, match="key=value"):
        recipe.load(CONFIGS[0], ["lr"])
    for text, reason in (
        ("data: [1\nlr: 2", r"broken.yaml, line 2, column 3: not YAML \(expected ',' or ']'"),
        ("data: \x00", "not YAML"),
        ("", "holds nothing, expected a mapping"),
    ):
        (tmp_path / "broken.yaml").write_text(text)
        with pytest.raises(ValueError, match=reason):
            recipe.load(tmp_path / "broken.yaml")
    (tmp_path / "broken.yaml").write_bytes(b"data: caf\xe9")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        recipe.load(tmp_path / "broken.yaml")
    with pytest.raises(ValueError, match=r"--set lr=\[.*: not YAML"):
        recipe.load(CONFIGS[0], ["lr=["])
    with pytest.raises(ValueError, match="no recipe at"):
        recipe.load(tmp_path)


def test_precision_may_be_a_plain_no_in_yaml(settings: dict) -> None:
    """YAML reads it as false, and the error then advised writing no."""
    assert recipe.from_dict({**settings, "precision": False}).precision == "no"


# ---------------------------------------------------------------- every setting is documented


def page_of(kind: type) -> str:
    """The table of a dataclass's settings, as it stands in the documentation."""
    rows = [
        f"| `{name}` | {values} | {default if default == 'required' else f'`{default}`'} | {meaning} |"
        for name, values, default, meaning in recipe.settings(kind)
    ]
    return "\n".join(["| setting | values | default | meaning |", "|---|---|---|---|", *rows])


def recipes_of_the_page() -> str:
    rows = [f"| `{name}` | {recipe.purpose(name)} |" for name in recipe.names()]
    return "\n".join(["| recipe | what for |", "|---|---|", *rows])


@pytest.mark.parametrize(
    ("title", "content"),
    [
        ("recipes", recipes_of_the_page()),
        ("settings of a recipe", page_of(recipe.Recipe)),
        ("settings of a phase", page_of(recipe.Phase)),
    ],
)
def test_the_page_on_training_lists_every_recipe_and_every_setting(title: str, content: str) -> None:
    """The page is compared with the code, so it cannot become outdated."""
    found = re.search(rf"<!-- {title} -->\n(.*?)<!-- end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1].strip() == content, f"put this into docs/training.md:\n{content}"


@pytest.mark.parametrize("kind", [recipe.Recipe, recipe.Phase])
def test_every_setting_has_a_meaning_and_an_allowed_default(kind: type) -> None:
    for entry in fields(kind):
        assert entry.metadata["meaning"].endswith("."), entry.name
        limit = entry.metadata["limit"]
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        assert limit is None or default in (MISSING, None) or limit[0](default), entry.name


def test_recipes_and_settings_are_listed_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for option, wanted in (
        ("--recipes", recipe.names()),
        ("--settings", [f"  {e.name}:" for e in fields(recipe.Recipe)]),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["train", option])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert all(name in said for name in wanted)


# ---------------------------------------------------------------- the recommended recipe


def test_the_recommended_recipe_needs_nothing_but_photos() -> None:
    """It used to name a teacher's file that nobody outside has, and 20 classes."""
    chosen = recipe.load(recipe.RECOMMENDED, data="pets")
    assert (chosen.data, chosen.teacher, chosen.teacher_maps, chosen.start_weights) == (
        "pets",
        None,
        None,
        None,
    )
    assert chosen.num_classes is None
    assert chosen.cache_in("runs/pets") == "runs/pets/photos"
