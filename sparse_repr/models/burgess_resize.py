"""The Burgess network with a resize-convolution decoder, which cannot draw a checkerboard (Odena et al. 2016)."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from sparse_repr.models.burgess import BurgessDecoder
from sparse_repr.models.transposed_convolution import double_size


class ResizeConvolution(nn.Conv2d):
    """Nearest-neighbour enlargement by 2, then a convolution of 3x3 (Odena et al. 2016, "Deconvolution and
    checkerboard artifacts").

    A transposed convolution of 4x4 and stride 2 gives the four pixels that come from one input pixel weights of their
    own, so that even a constant input may come out as a checkerboard. Here all four are made by the same 3x3 weights.

    It is computed as the transposed convolution that it equals, whose kernel along each axis is
    (w_3, w_2 + w_3, w_1 + w_2, w_1): less than half of the products, and nothing is enlarged.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Weights (outputs, inputs, 3, 3) and biases (outputs,)."""
        super().__init__(inputs, outputs, 3, padding=1)

    def doubling_kernel(self) -> Tensor:
        """The kernel of the transposed convolution that it equals, (inputs, outputs, 4, 4)."""
        turned = F.pad(self.weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))  # (inputs, outputs, 5, 5)
        rows = turned[..., 1:, :] + turned[..., :-1, :]
        return rows[..., 1:] + rows[..., :-1]

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, inputs, S, S) -> (B, outputs, 2S, 2S)."""
        assert self.bias is not None
        # channels last, which makes a step a third cheaper, in words that torch.func.vmap understands
        kernel = self.doubling_kernel().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return double_size(images, kernel, self.bias)


ResizeDecoder = partial(BurgessDecoder, doubling=ResizeConvolution)
"""The decoder of Burgess et al. 2018 with a `ResizeConvolution` in place of every transposed convolution."""
