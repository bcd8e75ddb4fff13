"""A copy of a frozen encoder that may be fine-tuned, at its own learning rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sparse_repr import FrozenEncoder
from sparse_repr.models import Posterior, build_encoder


class _Displacement(nn.Module):
    """A weight as its pretrained value plus a displacement that moves `multiplier` times as far as its optimiser says.

    SB3 has one parameter group and sets the rate of every group, and a scaled gradient does nothing under Adam, so the
    multiplier has to sit in the weight itself: its value is w0 + m d, its gradient reaches d as if it were w0 + d.
    Whatever the optimiser adds to d, the weight moves m times that, with clipping and Adam's epsilon unchanged.
    """

    pretrained: Tensor

    def __init__(self, pretrained: Tensor, multiplier: float) -> None:
        super().__init__()
        # not persistent: the agent's zip carries the encoder already
        self.register_buffer("pretrained", pretrained.detach().clone(), persistent=False)
        self.multiplier = multiplier

    def forward(self, displacement: Tensor) -> Tensor:
        return self.pretrained + displacement + (self.multiplier - 1) * displacement.detach()

    def right_inverse(self, weight: Tensor) -> Tensor:
        return (weight - self.pretrained) / self.multiplier


class TrainableEncoder(nn.Module):
    """The network of a frozen encoder with weights of its own, registered for training; it starts as the original."""

    def __init__(self, encoder: FrozenEncoder, learning_rate_multiplier: float = 1.0) -> None:
        """Copy the weights.

        Args:
            encoder: where training starts.
            learning_rate_multiplier: above 0; the weights move this many times as far as the optimiser's rate says.

        Raises:
            ValueError: not a positive finite number.
        """
        super().__init__()
        if not 0 < learning_rate_multiplier < float("inf"):
            raise ValueError(
                f"encoder_lr_multiplier needs a positive number, got {learning_rate_multiplier!r}; "
                "trainable=False keeps the encoder as it is"
            )
        self.learning_rate_multiplier = learning_rate_multiplier
        """The weights move this many times as far as the optimiser's rate says."""
        self._preprocessing = encoder.preprocessing
        self.network = build_encoder(encoder.spec.architecture, dict(encoder.spec.arguments))
        self.network.load_state_dict(encoder.network("cpu").state_dict())
        for module in list(self.network.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                parametrize.register_parametrization(module, name, _Displacement(weight, learning_rate_multiplier))

    def rescale(self, saved_multiplier: float) -> None:
        """Keep the weights of displacements that were learned under another multiplier."""
        if saved_multiplier == self.learning_rate_multiplier:
            return
        with torch.no_grad():
            for name, displacement in self.network.named_parameters():
                if name.endswith(".original"):
                    displacement.mul_(saved_multiplier / self.learning_rate_multiplier)

    def forward(self, images: Tensor) -> Posterior:
        """uint8 (N, C, H, W) or (N, H, W, C) -> posterior (N, D), in the type of the weights, with gradient."""
        if self._preprocessing.layout_of(tuple(images.shape[1:])) == "HWC":
            images = images.permute(0, 3, 1, 2)
        weight = next(self.network.parameters())
        # the order in which convolutions are fastest; weights stay in theirs, which torch.export asks for
        pixels = self._preprocessing(images).to(weight.dtype).contiguous(memory_format=torch.channels_last)
        posterior: Posterior = self.network(pixels)
        return posterior
