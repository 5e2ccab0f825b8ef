"""Capture and edit: exact, private to their thread, leaving no trace."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch

from cfviz import capture, edit, points
from cfviz.hooks import Informed, _sessions


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = timm.create_model("crossformer_nano").eval()
    for name, parameter in net.named_parameters():
        if ".pos." in name:  # a bias that is not flat
            torch.nn.init.normal_(parameter, std=0.5)
    return net


@pytest.fixture(scope="module")
def image():
    return torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


EXPECTED = {
    "patch_embed.kernels.3",
    "patch_embed.concat",
    "patch_embed.out",
    "layers.0.downsample.kernels.1",
    "layers.2.downsample.concat",
    *(f"layers.1.blocks.1.attn.{p}" for p in ("q", "k", "v", "bias", "probs", "heads", "out")),
    *(f"layers.1.blocks.1.{p}" for p in ("attn_branch", "mlp_branch", "out")),
    "features",
    "pooled",
    "logits",
}


def test_all_points_exist_and_fire(model, image):
    there = points(model)
    assert set(there) >= EXPECTED
    with torch.no_grad(), capture(model, "*") as seen:
        model(image)
    assert sorted(seen) == sorted(there)


def test_points_are_not_in_the_state_dict(model):
    assert not set(model.state_dict()) & set(points(model))


@pytest.mark.parametrize("size", [(96, 128), (224, 224), (256, 256)])
def test_watching_does_not_change_a_bit_of_the_logits(model, size):
    x = torch.randn(1, 3, *size)
    with torch.inference_mode():
        plain = model(x)
        with capture(model, "*") as seen:
            watched = model(x)
        after = model(x)
    assert torch.equal(plain, watched)
    assert torch.equal(plain, after)
    assert torch.equal(plain, seen["logits"])


def test_probabilities_are_those_of_the_attention_that_ran(model, image):
    """Rows sum to one, padding gets nothing, and probs @ v equals the output of attention."""
    with torch.no_grad(), capture(model, "layers.*.blocks.*.attn.*") as seen:
        model(image)
    for s, stage in enumerate(model.groupings(96, 128)):
        for b, grouping in enumerate(stage):
            at = f"layers.{s}.blocks.{b}.attn."
            probs, heads = seen[at + "probs"], seen[at + "heads"]
            assert probs.shape[0] == 2 * grouping.nG
            torch.testing.assert_close(probs.sum(-1), torch.ones(probs.shape[:-1]))
            torch.testing.assert_close(probs @ seen[at + "v"], heads, rtol=1e-4, atol=1e-5)
            valid = torch.from_numpy(grouping.valid).repeat(2, 1)
            rows = probs.permute(0, 2, 1, 3)[valid]  # real tokens, nH, N
            keys = valid[:, None].expand(-1, grouping.N, -1)[valid][:, None].expand_as(rows)
            assert rows[~keys].abs().max() == 0 if (~keys).any() else True


def test_a_pattern_that_matches_nothing_lists_the_points(model):
    listed = pytest.raises(ValueError, match=r"'layers\.9\.\*'.*layers\.\*\.blocks\.\*\.attn\.probs.*logits")
    with listed, capture(model, "layers.9.*"):
        pass
    with pytest.raises(ValueError, match="no point matches 'no'"), edit(model, {"no": torch.zeros_like}):
        pass


def test_captured_tensors_are_copies(model, image):
    def spoil(x):
        seen["pooled"].zero_()  # the tensor captured a moment ago
        return x

    with torch.no_grad():
        plain = model(image)
        with capture(model, "pooled") as seen, edit(model, {"logits": spoil}):
            first = model(image)
        with capture(model, "pooled") as seen:
            again = model(image)
            seen["pooled"].zero_()
    assert torch.equal(first, plain)
    assert torch.equal(again, plain)


def test_another_model_is_not_watched(model, image):
    other = timm.create_model("crossformer_nano").eval()
    with torch.no_grad(), capture(model, "logits") as seen:
        other(image)
    assert seen == {}


class Stop(BaseException):
    """Like the exception that Streamlit raises to end a script."""


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Stop])
def test_an_exception_leaves_no_trace(model, image, error):
    with torch.no_grad():
        plain = model(image)

        def fail(x):
            raise error

        with pytest.raises(error), capture(model, "*"), edit(model, {"layers.2.blocks.0.attn.v": fail}):
            model(image)
        assert _sessions.get() == ()
        assert torch.equal(model(image), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.slow
def test_sixteen_threads_get_the_same_as_one_alone(model):
    names = points(model)
    jobs = []
    for i in range(16):
        x = torch.randn(1, 3, 96 + 32 * (i % 3), 96, generator=torch.Generator().manual_seed(i))
        jobs.append((x, names[i::16]))
    everyone = threading.Barrier(16)

    def run(job, wait=False):
        x, watch = job
        out = []
        for _ in range(3):
            if wait:
                everyone.wait(timeout=60)
            with torch.no_grad(), capture(model, *watch) as seen:
                model(x)
            out.append(seen)
        return out

    torch.set_num_threads(1)  # so that sums are split the same way in every thread
    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda job: run(job, wait=True), jobs))
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a, b, strict=True):
            assert set(one) == set(other)
            assert all(torch.equal(one[k], other[k]) for k in one)


def test_an_identity_edit_changes_nothing(model, image):
    with torch.no_grad():
        plain = model(image)
        with edit(model, {"layers.*.blocks.*.attn.probs": lambda p: p.clone()}):
            same = model(image)
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-5)


def test_zeroing_a_head_equals_zeroing_its_slice_of_the_projection(model, image):
    at = "layers.1.blocks.1.attn"
    attn = model.get_submodule(at)
    d = attn.qkv.in_features // attn.num_heads
    keep = torch.ones(attn.num_heads)
    keep[2] = 0
    with torch.no_grad():
        with edit(model, {f"{at}.heads": lambda z: z * keep[:, None, None]}):
            edited = model(image)
        weight = attn.proj.weight.clone()
        attn.proj.weight[:, 2 * d : 3 * d] = 0
        by_hand = model(image)
        attn.proj.weight.copy_(weight)
        plain = model(image)
    torch.testing.assert_close(edited, by_hand, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(edited, plain)


def test_edits_compose_in_order_and_inner_captures_see_them(model, image):
    with (
        torch.no_grad(),
        edit(model, {"pooled": lambda x: x * 0 + 2}),
        edit(model, {"poole?": lambda x: x + 1, "pooled": lambda x: x * 10}),
        capture(model, "pooled") as seen,
    ):
        model(image)
    assert torch.equal(seen["pooled"], torch.full_like(seen["pooled"], 30))


def test_an_edited_bias_is_not_cached(model, image):
    at = "layers.0.blocks.0.attn.bias"
    with torch.no_grad():
        plain = model(image)
        with edit(model, {at: torch.zeros_like}):
            without = model(image)
        assert torch.equal(model(image), plain)
    assert not torch.allclose(without, plain)


def test_an_edit_of_another_shape_is_refused_by_name(model, image):
    named = pytest.raises(ValueError, match=r"an edit returned \(1, 384\); expected .* \(2, 384\)")
    with torch.no_grad(), edit(model, {"pooled": lambda x: x[:1]}), named:
        model(image)


def test_gradients_flow_through_watched_probabilities(model, image):
    at = "layers.2.blocks.1.attn.probs"
    with capture(model, at, graph=True) as seen:
        score = model(image)[:, 0].sum()
    (gradient,) = torch.autograd.grad(score, seen[at])
    assert gradient.shape == seen[at].shape
    assert gradient.abs().max() > 0


def test_an_informed_edit_gets_the_models_information_and_chains_with_plain_ones(model):
    x, told = torch.randn(1, 3, 64, 96), []

    def note(tensor, about):
        told.append(about)
        return tensor + 1

    informed = Informed(note)
    with torch.no_grad(), capture(model, "layers.0.blocks.1.attn.bias", "pooled") as seen:
        model(x)
    before = dict(seen)
    edits = {"layers.0.blocks.1.attn.*ias": lambda b: 2 * b, "layers.0.blocks.1.attn.bia*": informed}
    with torch.no_grad(), edit(model, edits), capture(model, "layers.0.blocks.1.attn.bias") as seen:
        model(x)
    torch.testing.assert_close(
        seen["layers.0.blocks.1.attn.bias"], 2 * before["layers.0.blocks.1.attn.bias"] + 1
    )
    assert told == [model.groupings(64, 96)[0][1]]
    with torch.no_grad(), edit(model, {"pooled": informed}), capture(model, "pooled") as seen:
        model(x)
    torch.testing.assert_close(seen["pooled"], before["pooled"] + 1)
    assert told[1:] == [None]
