"""A study of a folder: its numbers compared with direct loops; nothing is lost or counted twice."""

from __future__ import annotations

import os
import shutil
import signal
from copy import deepcopy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cfviz.analysis import attention_measures, embedding
from cfviz.geometry import CEL_STRIDES
from cfviz.hooks import capture
from cfviz.models.factory import create_model
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import parse
from cfviz.stats import share_change
from cfviz.training.data import EvalSet, PhotoFolder
from cfviz.training.measure.study import Study, read_interventions
from cfviz.training.measure.study_measures import columns, measuring, summaries, summary
from cfviz.training.measure.study_table import Moments, load
from tests.processes.warm import Warm

IDS = ["n01440764", "n02102040", "n03028079"]
LINES = (
    '{"part": "head", "stage": 1, "block": 1, "index": 2, "how": "mean"}\n'
    '{"part": "kernel", "stage": 0, "index": 1, "how": "mean"}\n'
    "\n"
    '{"part": "bias", "how": "zero"}\n'
    '[{"part": "kind", "stage": 0, "how": "sda"}, {"part": "mlp", "stage": 2, "block": 0}]\n'
)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("crossformer_nano", None, num_classes=3)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "changes.jsonl").write_text(LINES)
    return tmp_path / "changes.jsonl"


@pytest.mark.slow
def test_measures_equal_those_of_the_analysis(model: torch.nn.Module) -> None:
    size, x = 96, torch.randn(2, 3, 96, 96)  # 24, 12, 6 and 3 tokens: with padding and without
    with torch.inference_mode():
        with measuring(model, size) as found:
            out = model(x)
        with capture(model, "*.probs", "*.concat") as seen:
            torch.testing.assert_close(model(x), out)
    assert set(found) == set(columns(model))
    assert len(found) == 2 * sum(d * h for d, h in zip(model.depths, model.num_heads, strict=True)) + 10
    stride = 1
    for s, blocks in enumerate(model.groupings(size, size)):
        stride *= CEL_STRIDES[s]
        for b, groups in enumerate(blocks):
            probs = seen[f"layers.{s}.blocks.{b}.attn.probs"].unflatten(0, (2, -1)).numpy()
            for what, wanted in (
                ("distance", [attention_measures.distance(p, groups, stride) for p in probs]),
                ("entropy", [attention_measures.entropy(p, groups) for p in probs]),
            ):
                got = np.stack([found[f"{what}.{s}.{b}.{h}"] for h in range(model.num_heads[s])], 1)
                np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-5)
    merging = model.stages[0].downsample
    channels = [conv.out_channels for conv in merging.reductions]
    gain = model.stages[1].block_list[0].norm1.weight.detach().numpy()
    tokens = embedding.normalised(seen["layers.0.downsample.concat"].numpy(), gain)
    share = embedding.carried_shares(tokens, channels).mean((2, 3))
    np.testing.assert_allclose([found["share.1.0"], found["share.1.1"]], share, rtol=1e-4)


@pytest.mark.slow(6)
def test_the_study_equals_a_direct_loop(
    model: torch.nn.Module, photos: Path, lines: Path, tmp_path: Path
) -> None:
    folder, changes = PhotoFolder(photos), read_interventions(lines)
    study = Study(model, folder, IDS, changes, tmp_path / "out", size=64, limit=10)
    rows, about = load(study.run())
    items = [EvalSet(folder, 64, study.indices)[k] for k in range(20)]
    x = torch.stack([item[0] for item in items])
    label = np.asarray([0, 2])[[item[1] for item in items]]
    points = ("layers.1.blocks.1.attn.heads", "patch_embed.kernels.1")
    with torch.inference_mode():
        with capture(model, *points) as seen:
            plain = model(x)
        valid = torch.from_numpy(model.groupings(64, 64)[1][1].valid)
        heads = seen[points[0]].unflatten(0, (20, -1))  # B, nG, nH, N, d
        heads = heads.permute(0, 1, 3, 2, 4)[:, valid].mean((0, 1)).numpy()
        means = {points[0]: heads, points[1]: seen[points[1]].mean((0, 2, 3)).numpy()}
        merged = study._merged_means()
        for name, mean in means.items():
            np.testing.assert_allclose(merged[name], mean, rtol=1e-4, atol=1e-6)
        for change in changes:
            with apply(model, change, means):
                changed = model(x)
            mine = {row["measure"]: row for row in rows if row["json"] and parse(row["json"]) == change}
            hits = changed.argmax(1).numpy() == label
            assert mine["accuracy"]["value"] == pytest.approx(hits.mean())
            before = plain.argmax(1).numpy() == label
            wanted = share_change(int((before & ~hits).sum()), int((~before & hits).sum()), 20)
            got = mine["accuracy change"]
            assert (got["value"], got["low"], got["high"]) == pytest.approx(wanted)
            agree = (changed.argmax(1) == plain.argmax(1)).float().mean()
            assert mine["agreement"]["value"] == pytest.approx(float(agree))
            with apply(model, change, means), measuring(model, 64) as now:
                model(x)
            with measuring(model, 64) as then:
                model(x)
            for what, old, new in (
                (n, summary(then, model)[n], summary(now, model)[n]) for n in summaries(model)
            ):
                got = mine.get(f"{what} change", {"value": 0.0})
                assert got["value"] == pytest.approx((new - old).mean(), abs=2e-5), what
            shift = (changed.softmax(1) - plain.softmax(1)).numpy()[np.arange(20), label]
            assert mine["probability change"]["value"] == pytest.approx(shift.mean(), abs=1e-5)
    assert about["photos"] == 20
    each = pq.read_table(tmp_path / "out/photos.parquet")
    assert each["photo"].to_pylist() == [folder.names[i] for i in study.indices]


@pytest.mark.slow
def test_photos_that_cannot_be_opened_are_reported_and_skipped(
    model: torch.nn.Module, photos: Path, lines: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    next((tmp_path / "photos").rglob("03.png")).write_bytes(b"no photo")
    study = Study(
        model, PhotoFolder(tmp_path / "photos"), IDS, read_interventions(lines), tmp_path / "out", 32
    )
    rows, about = load(study.run())
    assert about["unreadable"] == 1
    assert {row["n"] for row in rows} == {23}
    other = Study(
        model, PhotoFolder(tmp_path / "photos"), IDS, [parse('{"part": "bias"}')], tmp_path / "out", 32
    )
    with pytest.raises(ValueError, match="study with other changes"):
        other.run()


@pytest.mark.slow
def test_a_study_of_another_model_is_not_gone_on_with(
    model: torch.nn.Module, photos: Path, lines: Path, tmp_path: Path
) -> None:
    changed, regrouped = deepcopy(model), deepcopy(model)
    with torch.no_grad():
        changed.head.weight.add_(1)
    regrouped.set_grouping(3)
    folder, changes = PhotoFolder(photos), read_interventions(lines)
    facts = [Study(one, folder, IDS, changes, tmp_path, 32).facts for one in (model, changed, regrouped)]
    assert facts[0]["weights"] != facts[1]["weights"]
    assert facts[0]["group_size"] != facts[2]["group_size"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "contains no interventions"),
        ("{}", "line 1: .*no part"),
        ('{"part": "bias"}\n{"part": "bias"}', "line 2: repeated"),
    ],
)
def test_senseless_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_interventions(tmp_path / "x.jsonl")


def test_moments_and_paired_intervals_by_hand() -> None:
    values, moments = np.random.default_rng(0).normal(5, 2, 100), Moments()
    for part in np.split(values, [3, 3, 50]):
        moments.add(part)
    mean, low, high = moments.interval
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.959964 * values.std(ddof=1) / 10)
    for few, value in (((), np.nan), ((0.25,), 0.25)):
        moments = Moments()
        moments.add(np.array(few))
        np.testing.assert_equal(moments.interval, (value, np.nan, np.nan))
    value, low, high = share_change(10, 5, 100)
    assert value == -0.05
    assert low < value < high
    assert share_change(5, 10, 100) == pytest.approx((0.05, -high, -low))
    with pytest.raises(ValueError, match="expected 0 <= lost"):
        share_change(60, 50, 100)


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("statistics.parquet", "photos.parquet")]


# `python -m cfviz`, killed in the middle of the second of the shards that are missing: each has two batches.
FRAGILE = """
import os, signal, sys
from cfviz.cli import main
from cfviz.training.measure.study import Study

compute, begun = Study._all_logits, []

def fragile(*given):
    begun.append(given)
    if len(begun) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(*given)

Study._all_logits = fragile
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow(14)
def test_resumed_and_shared_studies_write_the_same_files(
    photos: Path, lines: Path, tmp_path: Path, warm: Warm
) -> None:
    many = tmp_path / "many"
    for copy in range(4):  # three shards
        for path in photos.rglob("*.png"):
            target = many / path.parent.name / f"{copy}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    lines.write_text("".join(LINES.splitlines(keepends=True)[:2]))  # with means, those of all shards
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def command(out: str) -> list[str]:
        words = ["study", "--data", str(many), "--interventions", str(lines), "--size", "32", "--cpu"]
        return ["-m", "cfviz", *words, "--out", str(tmp_path / out)]

    def shards() -> list[str]:
        return sorted(path.name for path in (tmp_path / "killed/shards").iterdir())

    warm.run(command("one"), env=env, check=True)
    for done in (["000000.parquet"], ["000000.parquet", "000001.parquet"]):
        killed = warm.run(["-c", FRAGILE, *command("killed")[2:]], env=env)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert shards() == done
        assert not (tmp_path / "killed/statistics.parquet").exists()
    warm.run(command("killed"), env=env, check=True)
    for process in warm.ranks(2, command("two"), env=env):
        assert process.wait() == 0, process.stderr
    assert tables(tmp_path / "one") == tables(tmp_path / "killed") == tables(tmp_path / "two")
    names = pq.read_table(tmp_path / "two/photos.parquet")["photo"].to_pylist()
    assert len(names) == len(set(names)) == 96
