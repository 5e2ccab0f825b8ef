"""The command line, as used by people and by programs."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from math import prod
from pathlib import Path

import pytest
import torch
from PIL import Image

import cfviz
from cfviz import cli, geometry, options
from cfviz.cli import main
from cfviz.cli.output import Bar
from cfviz.models.crossformer import CrossFormer
from cfviz.models.others.opening import open_own
from cfviz.models.variants import VARIANTS, parameters, shipped
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.models.weights.recognise import expected_shapes
from cfviz.words import columns

ROOT = Path(__file__).parents[2]
PHOTO = str(ROOT / "assets" / "gallery" / "german-shepherd.jpg")
NANO = "crossformer_nano"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """Weights of the smallest variant with 20 classes, with a record of their training."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    model = CrossFormer(**VARIANTS[NANO], num_classes=20)
    facts = {"trained": "a test", "dataset": "imagenette20", "group_size": [7, 7, 7, 7]}
    write_checkpoint(path, model.state_dict(), **facts)
    return str(path)


def _fails(capsys, *argv: str) -> str:
    """Run a command that must fail with exit code 2 and one line on standard error; return the line."""
    try:
        code = main(argv)
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


# ---------------------------------------------------------------- models


def test_models_are_listed_with_the_published_sizes(capsys):
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert list(rows) == cfviz.list_models()
    for name, size in (("tiny", "27.8 M"), ("small", "30.7 M"), ("base", "52.0 M"), ("large", "92.0 M")):
        assert size in rows[f"crossformer_{name}"]
        assert rows[f"crossformer_{name}"].endswith("official")
    for name, size in (("small", "23.3 M"), ("base", "52.0 M"), ("large", "92.0 M"), ("huge", "96.0 M")):
        assert size in rows[f"crossformer_pp_{name}"]
        assert rows[f"crossformer_pp_{name}"].endswith("local file")
    assert err == ""


@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_parameters_are_counted_for_the_bundled_model(capsys, name):
    assert main(["models", "--json"]) == 0
    listed = {model["model"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    model = cfviz.create_model(name)
    assert listed[name]["parameters"] == sum(p.numel() for p in model.parameters())


def test_models_can_be_listed_as_json(capsys):
    assert main(["models", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == 1
    small = next(model for model in content["models"] if model["model"] == "crossformer_small")
    weights = {"weights": "official", "parameters": 30657394}
    plan = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}
    assert small == {"model": "crossformer_small", **weights, **plan} | {
        "group_size": [7, 7, 7, 7],
        "interval": [8, 4, 2, 1],
    }


@pytest.mark.slow
def test_parameters_are_counted_without_making_a_model():
    for name, config in VARIANTS.items():
        kind = config.get("position_bias", "dpb")
        shapes = expected_shapes(name, 20 if shipped(name) else 1000, 3, kind, None)
        assert parameters(name) == sum(prod(shape) for shape in shapes.values()), name


# ---------------------------------------------------------------- predict


@pytest.mark.slow
def test_a_prediction_agrees_with_the_library(capsys, weights):
    assert main(["predict", PHOTO, "--weights", weights, "--top", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert err == ""
    assert list(content) == ["schema", "model", "weights", "predictions", "errors"]
    assert (content["model"], content["errors"]) == (NANO, [])
    assert {key: content["weights"][key] for key in ("source", "trained", "dataset")} == {
        "source": "nano.safetensors",
        "trained": "a test",
        "dataset": "imagenette20",
    }
    (prediction,) = content["predictions"]
    assert list(prediction) == [
        *("photo", "photo_size", "notes", "size", "box", "mode", "kept", "empty", "stretch"),
        *("lda", "device", "dtype", "seconds", "shows", "top"),
    ]
    trace = cfviz.inspect(PHOTO, cfviz.create_model(NANO, weights=weights))
    expected = [{"index": i, "label": label, "probability": p} for i, label, p in trace.top(3)]
    assert prediction["top"] == expected
    assert prediction["size"] == [224, 224]
    assert prediction["kept"] == pytest.approx(0.875**2 * 3 / 4, abs=0.002)  # of a photo in the shape 4:3


@pytest.mark.slow
def test_a_prediction_over_the_whole_map(capsys, weights):
    top = {}
    for lda in ("regions", "whole"):
        assert (
            main(["predict", PHOTO, "--weights", weights, "--size", "192x256", "--lda", lda, "--json"]) == 0
        )
        top[lda] = json.loads(capsys.readouterr().out)["predictions"][0]["top"]
        trace = cfviz.inspect(PHOTO, cfviz.create_model(NANO, weights=weights, lda=lda), (192, 256))
        assert [one["probability"] for one in top[lda]] == [p for _, _, p in trace.top(5)]
    assert top["regions"] != top["whole"]


@pytest.mark.slow
def test_a_prediction_is_printed_as_a_table(capsys, weights):
    assert main(["predict", PHOTO, PHOTO, "--model", weights, "--size", "160X224", "--mode", "resize"]) == 0
    out, err = capsys.readouterr()
    blocks = out.split("\n\n")
    assert (len(blocks), err) == (2, "")
    head, *rows, known = blocks[0].splitlines()
    assert head.startswith(PHOTO)
    assert "576 x 768 px, seen as 160 x 224" in head  # height x width, as in --size
    said, *rows = rows
    assert said == "  Squeezed: the model sees the whole photo, stretched to 1.05 times its width."
    assert "none of the 20 classes" in known
    assert len(rows) == 5
    assert all(row.split()[0].endswith("%") for row in rows)


@pytest.mark.slow
def test_the_text_of_a_prediction_names_its_weights_and_what_they_cannot_know(capsys, weights):
    assert main(["predict", PHOTO]) == 0
    out, err = capsys.readouterr()
    *_, origin, limit = out.splitlines()
    assert origin == f"Weights bundled with cfviz: {cfviz.create_model(NANO).provenance.trained}."
    assert "only answer with one of these 20 classes: tench, " in limit
    assert err == ""
    assert main(["predict", PHOTO, "--lang", "zh-Hant", "--weights", weights]) == 0
    *_, origin, limit = capsys.readouterr().out.splitlines()
    assert "nano.safetensors" in origin
    assert "20 個類別" in limit


@pytest.mark.slow
def test_a_prediction_names_the_set_of_weights_it_took(capsys, tmp_path):
    path = tmp_path / "two.pth"
    state = cfviz.create_model(NANO, None, num_classes=4).state_dict()
    torch.save({"model": state, "ema": {"module": {key: value + 1 for key, value in state.items()}}}, path)
    assert main(["predict", PHOTO, "--weights", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["weights"]
    assert (told["set"], told["other_sets"], told["classes"]) == ("ema.module", "model", 4)
    assert "averaged ones (ema.module), not model" in told["notes"][0]
    assert main(["predict", PHOTO, "--weights", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "Weights from two.pth" in out
    assert "averaged ones (ema.module), not model" in err
    assert main(["predict", PHOTO, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["weights"]
    assert (told["set"], told["other_sets"], told["notes"], told["classes"]) == (None, None, [], 20)


@pytest.mark.slow
def test_what_was_done_to_a_photo_is_said(capsys, weights, tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (300, 300), (200, 0, 0, 90)).save(path)
    command = ["predict", str(path), PHOTO, "--weights", weights]
    assert main(command) == 0
    clear, plain = capsys.readouterr().out.split("\n\n")
    assert "Transparent parts are shown on white." in clear
    assert "white" not in plain
    assert main([*command, "--lang", "zh-Hant"]) == 0
    assert "透明部分" in capsys.readouterr().out


@pytest.mark.slow
def test_the_input_has_the_size_the_weights_were_trained_at(capsys, tmp_path):
    path = tmp_path / "small.safetensors"
    write_checkpoint(path, cfviz.create_model(NANO, None, num_classes=3).state_dict(), img_size=96)
    assert main(["predict", PHOTO, "--weights", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "seen as 96 x 96" in out
    assert "96 px, at which these weights were trained" in err
    assert main(["predict", PHOTO, "--weights", str(path), "--size", "224"]) == 0
    out, err = capsys.readouterr()
    assert "seen as 224 x 224" in out
    assert "trained at" not in err


@pytest.mark.slow
def test_class_names_can_be_chinese(capsys, weights):
    assert main(["predict", PHOTO, "--weights", weights, "--lang", "zh-Hant", "--top", "20"]) == 0
    assert "黃金獵犬" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_of_timm_predicts_by_its_name(capsys, tmp_path):
    import timm
    from safetensors.torch import save_file

    name, file, out = "deit_tiny_patch16_224", tmp_path / "mine.safetensors", tmp_path / "o.json"
    torch.manual_seed(0)
    save_file(timm.create_model(name, num_classes=3).state_dict(), file)
    command = ["predict", PHOTO, "--model", name, "--size", "64"]
    assert main([*command, "--weights", str(file), "--operations", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (prediction,) = told["predictions"]
    expected = cfviz.inspect(PHOTO, open_own(file, name, 64)).probs
    for one in prediction["top"]:
        assert one["probability"] == pytest.approx(expected[one["index"]], rel=1e-5)
    assert [told["model"], prediction["size"], prediction["lda"]] == [name, [64, 64], None]
    assert told["weights"]["source"] == "mine.safetensors"
    assert json.loads(out.read_text("utf-8"))["size"] == [64, 64]
    assert main([*command, "--weights", "none"]) == 0
    text, err = capsys.readouterr()
    assert "seen as 64 x 64" in text
    assert "these weights are random" in err
    assert "--weights official" in _fails(capsys, "predict", PHOTO, "--model", "pvt_v2_b0")
    assert "which pvt_v2_b0 has not" in _fails(
        capsys, "predict", PHOTO, "--model", "pvt_v2_b0", "--lda", "whole"
    )


@pytest.mark.slow
def test_a_prediction_records_dtype_and_device(capsys, weights):
    command = ["predict", PHOTO, "--weights", weights, "--dtype", "bfloat16", "--device", "cpu", "--json"]
    assert main(command) == 0
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (prediction["dtype"], prediction["device"]) == ("bfloat16", "cpu")


@pytest.mark.slow
def test_random_weights_are_called_random(capsys):
    assert main(["predict", PHOTO, "--weights", "none", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "the prediction means nothing" in err
    assert json.loads(out)["weights"]["trained"] is None
    assert json.loads(out)["predictions"][0]["top"] == [], "random weights have no answer"


@pytest.mark.slow
def test_one_bad_photo_does_not_stop_the_others(capsys, weights, tmp_path):
    bad, operations = tmp_path / "照片.jpg", tmp_path / "operations.json"
    bad.write_bytes(b"no image")
    command = ["predict", str(bad), PHOTO, "--weights", weights, "--json"]
    assert main([*command, "--operations", str(operations)]) == 2
    assert f"{operations}: {PHOTO}; " in capsys.readouterr().err  # of the first photo that opens
    assert operations.is_file()
    assert main(command) == 2
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert [entry["photo"] for entry in content["predictions"]] == [PHOTO]
    assert [entry["photo"] for entry in content["errors"]] == [str(bad)]
    assert content["errors"][0]["code"]
    assert content["errors"][0]["message"] in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--model", "crossformer_gigantic"], "crossformer_gigantic"),
        (["--model", "crossformer_pp_small", "--weights", "official"], "that only a person can use"),
        (["--weights", "official"], "crossformer_nano has no official weights"),
        (["--model", "some.pth", "--weights", "bundled"], "leave --weights out"),
        (["--size", "100"], "multiples of 32"),
        (["--size", "224x"], "not a size"),
        (["--size", "-1"], "--size"),
        (["--size", "1x2x3"], "not a size"),
        (["--size", "200x640"], "nearest for the height: 192 or 224"),
        (["--centre", "0.5"], "not a centre like"),
        (["--top", "0"], "from 1 up"),
        (["--device", "toaster"], "toaster"),
        (["--dtype", "int8"], "int8"),
        (["--mode", "squint"], "squint"),
        (["--jso"], "--jso"),
    ],
)
def test_mistakes_are_reported_in_one_line(capsys, options, said):
    assert said in _fails(capsys, "predict", PHOTO, *options)


def test_weights_of_another_variant_are_refused(capsys, weights):
    text = _fails(capsys, "predict", PHOTO, "--model", "crossformer_small", "--weights", weights)
    assert "holds crossformer_nano, but crossformer_small was asked for" in text


@pytest.mark.slow
def test_a_missing_photo_is_refused(capsys, weights):
    assert "nowhere.jpg" in _fails(capsys, "predict", "nowhere.jpg", "--weights", weights)


def test_a_traceback_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("CFVIZ_DEBUG", "1")
    with pytest.raises(ValueError, match=r"nowhere\.pth"):
        main(["predict", PHOTO, "--weights", "nowhere.pth"])


def test_a_report_names_the_photo_it_cannot_open(capsys, tmp_path):
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"no image")
    assert "holiday.jpg: " in _fails(capsys, "report", str(bad), "--out", str(tmp_path / "out.html"))


# ---------------------------------------------------------------- points


@pytest.mark.slow
def test_points_equal_the_librarys(capsys):
    assert main(["points", NANO]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == cfviz.points(cfviz.create_model(NANO, weights=None))


def test_points_can_be_filtered_by_pattern(capsys):
    assert main(["points", NANO, "layers.3.*.probs", "logits", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["points"][0] == {
        "point": "layers.3.blocks.0.attn.probs",
        "axes": ["group", "head", "query", "key"],
    }
    assert content["points"][-1] == {"point": "logits", "axes": ["class"]}


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["crossformer_giant"], "crossformer_nano"), ([NANO, "layers.9.*"], "layers.9.*"), ([], "MODEL")],
)
def test_a_pattern_that_matches_no_point_is_refused(capsys, argv, said):
    assert said in _fails(capsys, "points", *argv)


# ---------------------------------------------------------------- the whole program


def test_unknown_commands_are_refused(capsys):
    assert "dance" in _fails(capsys, "dance")
    assert "COMMAND" in _fails(capsys)


@pytest.mark.parametrize(
    "argv", [["--help"], ["models", "--help"], ["predict", "--help"], ["points", "--help"]]
)
def test_help_fits_a_terminal(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert out.startswith("usage: python -m cfviz")
    assert max(map(len, out.splitlines())) <= 100


def test_the_forms_of_long_distance_attention_on_offer_are_all_there_are():
    assert options.LDA == geometry.LDA


def test_every_command_and_every_option_is_explained():
    def parsers(parser):
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert {choice.dest for choice in action._choices_actions} == set(action.choices)
                assert all(choice.help for choice in action._choices_actions)
                for one in action.choices.values():
                    yield from parsers(one)

    for parser in parsers(cli._parser()):
        assert parser.description, parser.prog
        assert parser.description.endswith((".", "?")), parser.description
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, f"{parser.prog}: {action.dest}"
                assert not action.help.endswith("."), f"{parser.prog}: {action.help}"


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"cfviz {cfviz.__version__}"


@pytest.mark.slow
def test_a_terminal_without_chinese_gets_question_marks(weights, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["predict", PHOTO, "--weights", weights, "--lang", "zh-Hant"]) == 0
    assert raw.getvalue().count(b"%  ?") == 5


def test_a_closed_pipe_is_no_error(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["points", NANO]) == 141
    assert capsys.readouterr().err == "", "closing writes what was left over, and that must not fail either"


@pytest.mark.parametrize(
    ("text", "width"), [("cat", 3), ("黃金獵犬", 8), ("é", 1), ("e\u0301", 1), ("ｶﾅ", 2), ("", 0)]
)
def test_chinese_characters_count_as_two_columns(text, width):
    assert columns(text) == width


def test_the_progress_of_a_download_is_shown(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Bar("weights") as bar:
        bar(0, 4 << 20)
        bar.last = 0
        bar(1 << 20, 4 << 20)
        bar(4 << 20, 4 << 20)
    with Bar("more") as bar:
        bar(1 << 20, None)
    err = capsys.readouterr().err
    assert "[#######.....................]  25% of 4.0 MB" in err
    assert "100%" in err
    assert "more  1.0 MB" in err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with Bar("weights") as bar:
        bar(1 << 20, 1 << 20)
    with Bar("nothing"):
        pass
    assert capsys.readouterr().err == "weights: 1.0 MB downloaded\n"


def test_forged_strokes_are_refused_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "photo.jpg", "--brush", "mean-60-5000.1"])
    assert ended.value.code == 2
    assert "path has (5000, 1); expected [x, y]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_survey_names_what_it_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out, page = tmp_path / "photos", tmp_path / "s.safetensors", tmp_path / "s.html"
    photos.mkdir()
    whole = Path(PHOTO).read_bytes()
    (photos / "cat.jpg").write_bytes(whole)
    (photos / "half.jpg").write_bytes(whole[:5000])
    progress = tmp_path / "progress.json"
    said = [
        "survey",
        str(photos),
        "--size",
        "64",
        "--out",
        str(out),
        "--html",
        str(page),
        "--lang",
        "zh-Hant",
    ]
    assert main([*said, "--json", "--progress", str(progress)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["files"]["used"], list(told["files"]["skipped"])) == (1, ["half.jpg"])
    assert len(told["areas"]) == 4
    assert json.loads(progress.read_text("utf-8"))["done"] == 2
    assert "half.jpg" in page.read_text("utf-8")
    assert not out.with_suffix(".parts").exists()
    assert main(["survey", str(photos), "--out", str(tmp_path / "s.npz")]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    assert main(["survey", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "there is no folder" in capsys.readouterr().err
