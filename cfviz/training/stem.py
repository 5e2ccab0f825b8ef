"""The first embedding layer, computed differently for training on CPUs.

The gradient of a large kernel over three channels is slow in an ordinary convolution: with kernels up to
32 x 32 it takes a quarter of a training step. Folding each 4 x 4 block of pixels into 48 channels first turns
it into a small kernel of stride 1 over many channels: the same sums, three times faster.
"""

import torch
import torch.nn.functional as F
from torch import nn

from cfviz.models.crossformer import CrossFormer


class FoldedConv(nn.Conv2d):
    """A convolution with kernel 4n, stride 4 and padding (kernel - 4) / 2, computed via `pixel_unshuffle`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        n, p = k // s, (k - s) // 2
        x = F.pad(x, (p, p, p, p))
        x = F.pixel_unshuffle(x, s).contiguous(
            memory_format=torch.channels_last
        )  # B, C*s*s, H/s+n-1, W/s+n-1
        weight = self.weight.view(self.out_channels, -1, n, s, n, s).permute(0, 1, 3, 5, 2, 4)
        return F.conv2d(x, weight.reshape(self.out_channels, -1, n, n), self.bias)


def fold_stem(model: CrossFormer) -> CrossFormer:
    """Compute `model.patch_embed` through `FoldedConv`; the parameters and their names stay the same."""
    kernels = model.patch_embed.projs
    for i, conv in enumerate(kernels):
        assert isinstance(conv, nn.Conv2d)
        k, s = conv.kernel_size[0], conv.stride[0]
        # The "meta" device draws no random numbers, which keeps training reproducible.
        folded = FoldedConv(conv.in_channels, conv.out_channels, k, s, (k - s) // 2, device="meta")
        folded.weight, folded.bias = conv.weight, conv.bias
        kernels[i] = folded.train(conv.training)
    return model
