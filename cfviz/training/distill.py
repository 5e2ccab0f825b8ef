"""Dense distillation: each last-stage token learns to predict the teacher's features at its position."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.ops import roi_align

from cfviz.models.crossformer import CrossFormer


class TeacherMaps:
    """A file written by `teacher.dense_labels`: logits and features, (n, h, w, classes + components).

    Args:
        path: The .npy file.
        photos: Number of photos that the file must contain.
        classes: Number of logits, which come first on the last axis.

    Raises:
        ValueError: If there is no such file or its shape does not fit.
    """

    def __init__(self, path: str | Path, photos: int, classes: int):
        if not Path(path).exists():
            raise ValueError(f"no teacher maps at {path}; cfviz.training.teacher.dense_labels writes them")
        self.array = np.load(path, mmap_mode="r")
        if self.array.ndim != 4 or len(self.array) != photos or self.array.shape[3] <= classes:
            raise ValueError(
                f"{path} is {self.array.shape}, expected ({photos}, h, w, more than {classes} channels)"
            )
        self.classes = classes
        self.components = self.array.shape[3] - classes

    def under(
        self, index: torch.Tensor, box: torch.Tensor, side: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's logits and features under the given crops.

        Args:
            index: Index of each crop's photo, (B,).
            box: Left, top, right, bottom as fractions of the photo's sides, (B, 4); left > right if mirrored.
            side: Tokens per side.
            device: Device to compute on.

        Returns:
            Mean logits (B, classes) and features (B, side, side, components), float32.
        """
        maps = torch.from_numpy(self.array[index.numpy()]).to(device).float().permute(0, 3, 1, 2)
        box = box.to(device)
        mirrored = box[:, 0] > box[:, 2]
        box = torch.where(mirrored[:, None], box[:, [2, 1, 0, 3]], box)
        scale = box.new_tensor([maps.shape[3], maps.shape[2]] * 2)
        cells = roi_align(maps, list((box * scale)[:, None]), side, sampling_ratio=2, aligned=True)
        cells = torch.where(mirrored[:, None, None, None], cells.flip(3), cells)  # B, K, side, side
        logits = cells[:, : self.classes].mean(dim=(2, 3))
        return logits, cells[:, self.classes :].permute(0, 2, 3, 1)


class Student(nn.Module):
    """A model that also predicts the teacher's features from its last tokens, through a linear layer.

    The layer is discarded after training. `forward` returns logits (B, classes) and features
    (B, H/32, W/32, components).
    """

    def __init__(self, model: CrossFormer, components: int):
        super().__init__()
        self.model = model
        self.reader = nn.Linear(model.num_features, components)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that timm's optimisers must not decay."""
        return {f"model.{name}" for name in self.model.no_weight_decay()}

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.model.forward_features(x)
        return self.model.forward_head(x), self.reader(x)
