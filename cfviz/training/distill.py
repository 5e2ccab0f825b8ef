"""Learning from a teacher place by place: the tokens of the last stage tell what the teacher saw there."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.ops import roi_align

from cfviz.models.crossformer import CrossFormer


class TeacherMaps:
    """What ``teacher.dense_labels`` stored: logits and features (n, h, w, classes + components).

    Args:
        path: the .npy file.
        photos: how many photos it must hold.
        classes: how many of the last axis are logits.

    Raises:
        ValueError: if there is no such file or its shape does not fit.
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
        """What the teacher saw under some crops.

        Args:
            index: photos (B,).
            box: left, top, right, bottom as shares of the photo (B, 4); left > right if mirrored.
            side: tokens a side.
            device: where to compute.

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
    """A model whose last tokens also tell the teacher's features, through a linear layer that is thrown away.

    Its forward gives logits (B, classes) and features (B, H/32, W/32, components).
    """

    def __init__(self, model: CrossFormer, components: int):
        super().__init__()
        self.model = model
        self.reader = nn.Linear(model.num_features, components)

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay, for timm's optimisers."""
        return {f"model.{name}" for name in self.model.no_weight_decay()}

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.model.forward_features(x)
        return self.model.forward_head(x), self.reader(x)
