"""Interventions do exactly what they state, and only to the forwards inside their `with` block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cfviz import capture
from cfviz.hooks import _sessions
from cfviz.models.interventions.apply import apply, apply_each, input_of, needed, point_of
from cfviz.models.interventions.effects import collect, effects, parts
from cfviz.models.interventions.language import (
    FILLS,
    INDEXED,
    PARTS,
    Intervention,
    check,
    dump,
    from_url,
    parse,
    places,
    to_url,
)
from cfviz.models.interventions.means import Means

SIZES = ((96, 96), (224, 224), (160, 224))  # one group, exact groups, padded groups


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    from cfviz.models import CrossFormer

    net = CrossFormer(num_classes=7, embed_dim=32, depths=(2, 2, 3, 1), num_heads=(1, 2, 4, 8)).eval()
    for name, parameter in net.named_parameters():
        if ".pos." in name:  # a bias that is not flat
            torch.nn.init.normal_(parameter, std=1.5)
        elif name.endswith(("projs.0.bias", "proj.bias")):
            torch.nn.init.normal_(parameter, std=0.5)
    return net


def picture(size=(160, 224), n=2, seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def run(model, x, *interventions, **more):
    with torch.inference_mode(), apply(model, interventions, **more):
        return model(x)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- what is written


@st.composite
def interventions(draw):
    part = draw(st.sampled_from(list(PARTS)))
    how = draw(st.sampled_from(PARTS[part]))
    number = st.integers(0, 30)
    stage = draw(st.none() | st.integers(0, 3))
    block = draw(st.none() | number) if stage is not None and part != "kernel" else None
    open_index = (stage if part == "kernel" else block) is not None and part in INDEXED
    value: float | int | None = None
    if how == "set":
        value = draw(st.integers(1, 99))
    elif how == "replace":
        some = st.floats(-1e20, 1e20) | st.integers(-9, 9)
        value = draw(some if part in ("bias", "mask") else st.none() | some)
    return Intervention(
        part,
        stage,
        block,
        draw(st.none() | number) if open_index else None,
        how,
        value,
        draw(st.integers(0, 2**31 - 1)) if how == "shuffle" else 0,
        draw(st.booleans()),
    )


@pytest.mark.slow
@given(st.lists(interventions(), max_size=5).map(tuple))
def test_json_and_links_are_read_back_unchanged(several):
    line = dump(several)
    assert "\n" not in line
    assert parse(line) == several
    word = to_url(several)
    assert from_url(word) == several
    assert set(word) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
    for a, b in zip(parse(line), several, strict=True):
        assert type(a.value) is type(b.value)


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused_with_a_reason(text):
    for read in (parse, from_url):
        try:
            found = read(text)
        except ValueError as error:
            found = (str(error),)  # not empty
        assert all(isinstance(one, Intervention) or one for one in found)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "intervention 1: 1 is no object"),
        ('{"how": "zero"}', "no part; expected one of head, kernel"),
        ('{"part": "tail"}', "part is 'tail'; expected one of head"),
        ('{"part": ["head"]}', r"part is \['head'\]"),
        ('{"part": "head", "colour": 1}', "unknown colour; known are part, stage"),
        ('{"part": "head", "how": "boil"}', "how is 'boil'; for head expected 'zero', 'mean'"),
        ('{"part": "kind", "stage": 0}', "how is 'zero'; for kind expected 'sda', 'lda'"),
        ('{"part": "head", "stage": -1}', "stage is -1; expected a whole number from 0"),
        ('{"part": "head", "stage": 1.5}', "stage is 1.5; expected a whole number"),
        ('{"part": "head", "stage": true}', "stage is True; expected a whole number"),
        ('{"part": "head", "stage": 1, "index": 2}', "index is 2 without a block"),
        ('{"part": "head", "block": 1}', "without a stage"),
        ('{"part": "kernel", "stage": 1, "block": 0}', "a kernel has none"),
        ('{"part": "mlp", "stage": 1, "block": 0, "index": 0}', "index is 0; mlp has none"),
        ('{"part": "G", "stage": 1}', "G is set to nothing"),
        ('{"part": "G", "stage": 1, "value": 0}', "value is 0; expected a whole number from 1"),
        ('{"part": "mlp", "how": "mean", "value": 3}', "only replace and set take a value"),
        ('{"part": "mlp", "how": "replace", "value": NaN}', "expected a number"),
        ('{"part": "bias", "how": "replace"}', "depends on no photo"),
        ('{"part": "mlp", "seed": 3}', "only shuffle has a seed"),
        ('[{"part": "mlp"}, {"part": "mlp", "on": 1}]', "intervention 2: on is 1; expected true or false"),
    ],
)
def test_json_that_cannot_be_read_is_refused_in_one_sentence(line, says):
    with pytest.raises(ValueError, match=says):
        parse(line)


@pytest.mark.parametrize(
    ("word", "says"),
    [("head", "is no intervention"), ("0.1.h1-zero", "links count from 1"), ("1.1.h1-boil", "how is 'boil'")],
)
def test_links_that_cannot_be_read_are_refused_in_one_sentence(word, says):
    with pytest.raises(ValueError, match=says):
        from_url(word)


def test_links_count_stages_and_blocks_from_one():
    assert from_url("3.2.h5-zero_1.k4-mean_~4.x.G-5") == (
        Intervention("head", 2, 1, 4),
        Intervention("kernel", 0, None, 3, "mean"),
        Intervention("G", 3, how="set", value=5, on=False),
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Intervention("head", 4), "stage is 4; the model has 4, 0 to 3"),
        (Intervention("head", 0, 2), "block is 2; stage 0 has 2"),
        (Intervention("head", 1, 1, 2), "index is 2; stage 1 has 2"),
        (Intervention("kernel", 1, index=2, on=False), "index is 2; the embedding before stage 1 has 2"),
    ],
)
def test_parts_that_the_model_lacks_are_refused_in_one_sentence(model, change, says):
    with pytest.raises(ValueError, match=says):
        check(model, [change])
    with pytest.raises(ValueError, match=says), apply(model, [change]):
        pass


def test_an_omitted_place_means_all_places(model):
    assert len(list(places(model, Intervention("head")))) == 2 * 1 + 2 * 2 + 3 * 4 + 8
    assert len(list(places(model, Intervention("kernel")))) == 10
    assert len(list(places(model, Intervention("kind", 2, how="sda")))) == 3
    assert len(list(places(model, Intervention("bias")))) == 8


# ---------------------------------------------------------------- what is done


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("s", "b", "h"), [(1, 1, 1), (2, 0, 3), (3, 0, 5)])
def test_zeroing_a_head_equals_zeroing_its_slice_of_the_projection(model, size, s, b, h):
    x = picture(size)
    by_hand = deepcopy(model)
    d = 32 * 2**s // model.num_heads[s]
    with torch.no_grad():
        by_hand.stages[s].block_list[b].attn.proj.weight[:, h * d : (h + 1) * d] = 0
        expected = by_hand(x)
    close(run(model, x, Intervention("head", s, b, h)), expected)
    assert not torch.allclose(expected, model(x), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_zeroing_a_kernel_equals_zeroing_its_weights(model, size):
    x = picture(size)
    for s, i in ((0, 3), (2, 1)):
        by_hand = deepcopy(model)
        at = by_hand.patch_embed.projs if s == 0 else by_hand.stages[s - 1].downsample.reductions
        with torch.no_grad():
            at[i].weight.zero_()
            at[i].bias.zero_()
            expected = by_hand(x)
        close(run(model, x, Intervention("kernel", s, index=i)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("cooling", [False, True])
def test_a_removed_block_is_the_identity(tiny_model, cooling):
    net = tiny_model(depths=(2, 2, 4, 2), cooling=cooling)
    x = picture()
    for s, b in ((0, 0), (1, 1), (2, 0), (2, 2)):
        names = (input_of(s, b), f"layers.{s}.blocks.{b}.out")
        with torch.inference_mode(), apply(net, [Intervention("block", s, b)]), capture(net, *names) as seen:
            after = net(x)
        assert torch.equal(seen[names[0]], seen[names[1]])
        by_hand = deepcopy(net)
        by_hand.stages[s].blocks[b] = torch.nn.Identity()
        with torch.inference_mode():
            close(after, by_hand(x))


def test_removing_a_block_equals_removing_its_branches(model):
    x = picture()
    branches = [Intervention(part, 2, 1) for part in ("attn", "mlp")]
    close(run(model, x, *branches), run(model, x, Intervention("block", 2, 1)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("s", "b", "kind"), [(0, 1, "sda"), (1, 1, "sda"), (1, 0, "lda"), (2, 2, "lda")])
def test_changing_the_kind_equals_a_model_built_with_it(model, size, s, b, kind):
    x = picture(size)
    built = deepcopy(model)
    built.stages[s].block_list[b].index = int(kind == "lda")
    with torch.inference_mode():
        expected = built(x)
    assert torch.equal(run(model, x, Intervention("kind", s, b, how=kind)), expected)


@pytest.mark.parametrize("size", SIZES)
def test_changing_size_and_interval_equals_a_model_built_with_them(model, size):
    x = picture(size)
    built = deepcopy(model)
    built.set_grouping((7, 5, 7, 7), (8, 3, 2, 1))
    several = [Intervention("G", 1, how="set", value=5), Intervention("I", 1, how="set", value=3)]
    with torch.inference_mode():
        expected = built(x)
    assert torch.equal(run(model, x, *several), expected)
    with apply(model, several):
        assert model.groupings(*size) == built.groupings(*size)
    assert model.groupings(*size) != built.groupings(*size) or size == (96, 96)


def test_a_zero_position_bias_equals_a_model_without_one(model):
    x = picture()
    without = deepcopy(model)
    for stage in without.stages:
        for block in stage.block_list:
            torch.nn.init.zeros_(block.attn.pos.pos3[2].weight)
            torch.nn.init.zeros_(block.attn.pos.pos3[2].bias)
    with torch.inference_mode():
        expected = without(x)
    close(run(model, x, Intervention("bias")), expected)
    close(run(model, x, Intervention("bias", how="mean")), expected)  # a constant does not change the softmax
    close(run(model, x, Intervention("bias", how="replace", value=3.5)), expected)


def test_a_shuffled_bias_keeps_one_value_per_offset(model):
    change, point = Intervention("bias", 2, 1, 0, "shuffle", seed=4), "layers.2.blocks.1.attn.bias"
    with torch.inference_mode(), capture(model, point) as plain:
        model(picture((224, 224), 1))
    with torch.inference_mode(), apply(model, [change]), capture(model, point) as seen:
        model(picture((224, 224), 1))
    before, after = plain[point], seen[point]
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[0].unique(), before[0].unique())
    assert torch.equal(after[0, 0, :6], after[0, 1, 1:7])  # the same offsets


def test_without_the_mask_padding_receives_attention(model):
    x, point = picture((160, 224)), "layers.0.blocks.0.attn.probs"
    g = model.groupings(160, 224)[0][0]
    assert g.padded
    padding = torch.from_numpy(~g.valid).repeat(2, 1)[:, None, None].expand(-1, 1, 49, -1)
    shares = {}
    for how in ("plain", "zero", "mean", "shuffle", "replace"):
        several = (
            []
            if how == "plain"
            else [Intervention("mask", 0, how=how, value=1.0 if how == "replace" else None)]
        )
        with torch.inference_mode(), apply(model, several), capture(model, point) as seen:
            model(x)
        shares[how] = float(seen[point][padding].sum())
    assert shares["plain"] == shares["mean"] == 0.0  # their mean still masks every padded key
    assert shares["replace"] > shares["zero"] > 1.0
    assert shares["shuffle"] > 1.0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("part", ["head", "kernel", "attn", "mlp", "block"])
def test_shuffled_tokens_are_a_permutation(model, size, part):
    change = Intervention(part, 1, None if part == "kernel" else 1, 1 if part in INDEXED else None, "shuffle")
    names = [point_of(change), input_of(1, 1)]
    x = picture(size)
    tokens = []
    for several in ((), (change,)):
        with torch.inference_mode(), apply(model, several), capture(model, *names) as seen:
            model(x)
        y = seen[names[0]]
        if part == "head":
            g = model.groupings(*size)[1][1]
            y = y.unflatten(0, (2, -1))[:, :, 1].flatten(1, 2)[:, torch.from_numpy(g.valid.ravel())]
        else:
            y = y - seen[names[1]] if part == "block" else y
            y = y.permute(0, 2, 3, 1) if part == "kernel" else y
            y = y.flatten(1, 2)
        tokens.append(y)
    before, after = tokens
    order = torch.from_numpy(np.random.default_rng(0).permutation(before.shape[1]))
    close(after, before[:, order])


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_means_equal_a_direct_loop(model, size):
    batches = [picture(size, n, seed=n) for n in (1, 2, 3)]
    several = [Intervention("head", 1, 1, 1, "mean"), Intervention("kernel", 0, index=2, how="mean"),
               Intervention("mlp", 2, 0, how="mean"), Intervention("block", 2, 2, how="mean")]  # fmt: skip
    names = needed(model, several)
    halves = (Means(), Means())
    with torch.inference_mode(), capture(model, *names) as seen:
        for n, x in enumerate(batches):
            model(x)
            halves[n % 2].add(seen, model.groupings(*size))
    halves[0].merge(halves[1])
    means = halves[0].result()
    parts = {name: [] for name in names}
    for x in torch.cat(batches):
        with torch.inference_mode(), capture(model, *names) as seen:
            model(x[None])
        for name, y in seen.items():
            if name.endswith("heads"):
                g = model.groupings(*size)[1][1]
                y = y.permute(1, 0, 2, 3)[:, torch.from_numpy(g.valid)]  # nH, H*W, d
                parts[name].append(y)
            else:
                y = y.permute(0, 2, 3, 1) if "kernels" in name else y
                parts[name].append(y.flatten(0, 2))
    for name, some in parts.items():
        np.testing.assert_allclose(means[name], torch.cat(some, -2).mean(-2), rtol=1e-4, atol=1e-6)
    with torch.inference_mode(), apply(model, several, means=means), capture(model, *names) as seen:
        model(batches[1])
    real = seen["layers.1.blocks.1.attn.heads"][:1, 1]
    np.testing.assert_allclose(real[0, 0], means["layers.1.blocks.1.attn.heads"][1], rtol=1e-6)
    close(
        seen["layers.2.blocks.0.mlp_branch"],
        torch.from_numpy(means["layers.2.blocks.0.mlp_branch"]).expand(
            2, *seen["layers.2.blocks.0.mlp_branch"].shape[1:]
        ),
    )
    with pytest.raises(ValueError, match="no mean of 'layers"), apply(model, several):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("part", ["head", "kernel", "attn", "mlp", "block"])
def test_patching_inserts_the_other_photos_activation(model, size, part):
    change = Intervention(part, 1, None if part == "kernel" else 1, 1 if part in INDEXED else None, "replace")
    a, b = picture(size, 1, 1), picture(size, 1, 2)
    names = needed(model, [change], "replace")
    with torch.inference_mode(), capture(model, *names) as seen:
        model(b)
    donor = {n: (y if n.endswith("heads") else y[0]).numpy() for n, y in seen.items()}
    close(run(model, b, change, donor=donor), model(b))  # the photo's own activation changes nothing
    patched = run(model, a, change, donor=donor)
    assert not torch.allclose(patched, model(a), atol=1e-5)
    everything = [Intervention("kernel", 0, how="replace")]
    names = needed(model, everything, "replace")
    with torch.inference_mode(), capture(model, *names) as seen:
        model(b)
    donor = {n: y[0].numpy() for n, y in seen.items()}
    # With everything replaced, the answer is the other photo's.
    close(run(model, a, *everything, donor=donor), model(b))
    with pytest.raises(ValueError, match="of the other photo"):
        run(model, picture((32, 64), 1), *everything, donor=donor)


def test_a_part_can_be_replaced_by_a_number(model):
    change = Intervention("attn", 1, 0, how="replace", value=0.25)
    with torch.inference_mode(), apply(model, [change]), capture(model, point_of(change)) as seen:
        model(picture())
    assert torch.all(seen[point_of(change)] == 0.25)


def test_a_switched_off_change_does_nothing_and_order_counts(model):
    x = picture()
    off = [Intervention("block", 1, 1, on=False), Intervention("kind", 0, 1, how="sda", on=False)]
    assert torch.equal(run(model, x, *off), run(model, x))
    five, six = (Intervention("mlp", 1, 1, how="replace", value=v) for v in (5, 6))
    assert torch.equal(run(model, x, five, six), run(model, x, six))
    assert not torch.equal(run(model, x, five, six), run(model, x, six, five))


@pytest.mark.parametrize("how", [how for how in FILLS if how != "mean"])
def test_each_photo_of_a_batch_gets_its_own_changes(model, how):
    value = 0.5 if how == "replace" else None
    rows = [
        [Intervention("head", 2, 1, 3, how, value)],
        [],
        [Intervention("kernel", 1, None, 0, how, value), Intervention("block", 2, 2, how=how, value=value)],
        [Intervention("attn", 0, 1, how=how, value=value), Intervention("mlp", 3, 0, how=how, value=value)],
    ]
    x = picture((160, 224), 1).expand(4, -1, -1, -1)
    with torch.inference_mode(), apply_each(model, rows):
        together = model(x)
    for row, several in enumerate(rows):
        close(together[row : row + 1], run(model, x[:1], *several))
    refused = pytest.raises(ValueError, match="the same for a whole batch")
    with refused, apply_each(model, [[Intervention("bias")]]):
        pass


def test_an_inner_block_changes_what_the_outer_one_made(model):
    x = picture()
    head, kind = Intervention("head", 0, 1, 0, "shuffle"), Intervention("kind", 0, 1, how="sda")
    expected = run(model, x, kind, head)
    for outer, inner in ((head, kind), (kind, head)):
        with apply(model, [outer]):
            assert torch.equal(run(model, x, inner), expected)


@pytest.mark.slow
def test_sixteen_threads_change_only_their_own_forwards(model):
    x = picture((96, 128), 1)
    several = [(Intervention("head", 2, b, h),) for b in range(3) for h in range(4)]
    several += [(Intervention("kind", 1, 1, how="sda"),), (Intervention("G", 0, how="set", value=5),)]
    several += [(Intervention("bias", 2, 2),), ()]
    before = {name: p.clone() for name, p in model.state_dict().items()}
    expected = [run(model, x, *some) for some in several]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            for found, right in zip(
                pool.map(lambda some: run(model, x, *some), several), expected, strict=True
            ):
                assert torch.equal(found, right)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert (model.group_size, model.interval) == ((7, 7, 7, 7), (8, 4, 2, 1))


def test_nothing_is_left_on_the_model(model):
    x = picture()
    plain = run(model, x)
    with pytest.raises(KeyboardInterrupt), apply(model, [Intervention("kind", 0, 1, how="sda")]):
        raise KeyboardInterrupt
    assert _sessions.get() == ()
    assert torch.equal(run(model, x), plain)


# ---------------------------------------------------------------- many at once


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (160, 224)])
@pytest.mark.parametrize("how", FILLS)
def test_many_effects_at_once_equal_one_by_one(model, size, how):
    a, b = picture(size, 1, 1), picture(size, 1, 2)
    every = [(one,) for one in parts(model, how, size)]
    several = [*every[::7], (), (*every[3], *every[-4]), (replace(every[5][0], on=False),)]
    flat = [one for some in several for one in some]
    means = collect(model, list(picture(size, 3, 3)), flat)
    names = needed(model, flat, "replace")
    with torch.inference_mode(), capture(model, *names) as seen:
        model(b)
    donor = {n: (y if n.endswith("heads") else y[0]).numpy() for n, y in seen.items()}
    told: list[float] = []
    found = effects(model, a[0], several, means, donor, batch=3, progress=told.append)
    for logits, some in zip(found, several, strict=True):
        close(torch.from_numpy(logits)[None], run(model, a, *some, means=means, donor=donor))
    assert told == sorted(told)
    assert told[-1] == 1
    assert (how == "mean") == bool(means)


def test_every_part_is_listed(model):
    found = parts(model, "zero", (224, 224))
    assert len(found) == len(set(found))
    assert sum(one.part == "head" for one in found) == 2 + 4 + 12 + 8
    assert sum(one.part == "kernel" for one in found) == 10
    assert sum(one.part in ("attn", "mlp", "block", "bias") for one in found) == 4 * 8
    assert [one.how for one in found if one.part == "kind"] == [
        "lda",
        "sda",
        "lda",
        "sda",
        "lda",
        "sda",
        "lda",
    ]
    assert not any(one.part == "bias" for one in parts(model, "replace", (224, 224)))
