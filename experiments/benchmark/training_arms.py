"""Ways to train the same VAE on the same pictures: ours, the usual pattern in PyTorch, and pythae."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sparse_repr import PretrainConfig
from sparse_repr.data import load_dataset
from sparse_repr.pretrain.term_sums import TermSums
from sparse_repr.pretrain.trainer import Trainer

BATCH = 64
CODE_SIZE = 10
LEARNING_RATE = 5e-4
MISSING_PEER = 'pythae is not installed, so that peer is left out; install it with pip install "sparse-repr[peers]"'


class Arm(Protocol):
    """One way to train; every batch has 64 images of dSprites."""

    def batches(self) -> Iterator[Any]:
        """What the steps of one epoch read: the drawing of data alone."""

    def step(self, batch: Any) -> Any:
        """One optimisation step on what `batches` gave."""

    def epoch(self) -> float:
        """All steps of an epoch; returns the mean loss in nats per image."""


class UsualVAE(nn.Module):
    """The network of Burgess et al. 2018 for 1x64x64 pictures, as one writes it down: torch's own layers in a row."""

    def __init__(self) -> None:
        super().__init__()
        encoder: list[nn.Module] = [nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU()]
        decoder: list[nn.Module] = [nn.Linear(CODE_SIZE, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        decoder += [nn.Linear(256, 512), nn.ReLU(), nn.Unflatten(1, (32, 4, 4))]
        for _ in range(3):
            encoder += [nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU()]
            decoder += [nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder, nn.Linear(256, 2 * CODE_SIZE))
        self.decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(32, 1, 4, 2, 1))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1, 64, 64) in 0..1 -> mean and log-variance, (B, D) each."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 1, 64, 64) in 0..1 -> logits of the same shape, mean and log-variance (B, D)."""
        mean, log_variance = self.encode(images)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(z), mean, log_variance


def usual_loss(network: UsualVAE, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, reconstruction and KL, scalars with gradient, nats per image."""
    logits, mean, log_variance = network(images)
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp()) / len(images)
    return reconstruction + kl, reconstruction, kl


class Ours:
    """`Trainer.train_step` as a user gets it: drawn from the full grid, terms added up where they are."""

    def __init__(self, steps: int, precision: str) -> None:
        self._steps = steps
        config = PretrainConfig(
            dataset="dsprites",
            objective="vae",
            batch_size=BATCH,
            code_size=CODE_SIZE,
            learning_rate=LEARNING_RATE,
            precision=precision,
            device="cpu",
            progress=False,
        ).resolve()  # steps alone write no run folder
        self.trainer = Trainer(config, load_dataset("dsprites"))

    def batches(self) -> Iterator[Any]:
        for _ in range(self._steps):
            drawn, noise = self.trainer.draw()
            yield self.trainer.network_input(drawn), noise
            self.trainer.step += 1

    def step(self, batch: Any) -> None:
        images, noise = batch
        self.trainer.objective.step(images, noise, self.trainer.autocast, self.trainer.step)

    def epoch(self) -> float:
        sums = TermSums()
        for _ in range(self._steps):
            sums.add(self.trainer.train_step(), self.trainer.step)
        return sums.means()["loss"]


def pictures(steps: int) -> npt.NDArray[np.uint8]:
    """As many dSprites as an epoch reads, drawn at random, uint8 (steps * 64, 1, 64, 64)."""
    data = load_dataset("dsprites")
    return data.images(np.random.default_rng(0).choice(len(data), steps * BATCH, replace=False))


class _Pictures(Dataset[Tensor]):
    """uint8 (H, W, C) pictures in memory, each made a tensor when it is asked for."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        from torchvision.transforms import ToTensor

        self._images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self._transform: Callable[[npt.NDArray[np.uint8]], Tensor] = ToTensor()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return self._transform(self._images[index])


class Usual:
    """float32, a `DataLoader` that converts picture by picture, Adam's defaults, `.item()` on every term."""

    def __init__(self, steps: int, workers: int) -> None:
        torch.manual_seed(0)
        self._network = UsualVAE()
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=LEARNING_RATE)
        # workers that live on between epochs: starting them is not what is measured
        self._loader = DataLoader(
            _Pictures(pictures(steps)),
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def batches(self) -> Iterator[Any]:
        return iter(self._loader)

    def step(self, batch: Any) -> float:
        terms = usual_loss(self._network, batch)
        self._optimiser.zero_grad()
        terms[0].backward()
        self._optimiser.step()
        loss, _, _ = (term.item() for term in terms)
        return loss

    def epoch(self) -> float:
        return float(np.mean([self.step(batch) for batch in self.batches()]))


def has_pythae() -> bool:
    """Whether the peer can be measured."""
    return importlib.util.find_spec("pythae") is not None


class Pythae:
    """pythae's `VAE` and `BaseTrainer` with the same network; an epoch is its trainer's own.

    Its Bernoulli loss takes probabilities, so that the decoder ends in a sigmoid; the images are float32 in memory, as
    its pipeline makes them.
    """

    def __init__(self, steps: int) -> None:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        torch.manual_seed(0)
        network = UsualVAE()

        class Encoder(BaseEncoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = network.encoder

            def forward(self, images: Tensor) -> Any:
                mean, log_variance = self.layers(images).chunk(2, dim=1)
                return ModelOutput(embedding=mean, log_covariance=log_variance)

        class Decoder(BaseDecoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = network.decoder

            def forward(self, z: Tensor) -> Any:
                return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))

        config = VAEConfig(input_dim=(1, 64, 64), latent_dim=CODE_SIZE, reconstruction_loss="bce")
        images = torch.from_numpy(pictures(steps)).float() / 255
        self._folder = tempfile.TemporaryDirectory()
        self._trainer = BaseTrainer(
            VAE(config, Encoder(), Decoder()),
            BaseDataset(images, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                output_dir=self._folder.name,
                per_device_train_batch_size=BATCH,
                learning_rate=LEARNING_RATE,
                no_cuda=True,
            ),
        )
        self._trainer.prepare_training()
        self._epochs = itertools.count(1)

    def batches(self) -> Iterator[Any]:
        return iter(self._trainer.train_loader)

    def step(self, batch: Any) -> float:
        output = self._trainer.model(batch, epoch=1, dataset_size=BATCH, uses_ddp=False)
        self._trainer._optimizers_step(output)
        return float(output.loss.item())

    def epoch(self) -> float:
        # its progress bar writes; that it is drawn is part of its loop, where to is not
        with contextlib.redirect_stderr(io.StringIO()):
            return float(self._trainer.train_step(next(self._epochs)))


ARMS: dict[str, Callable[[int], Arm]] = {
    "ours": lambda steps: Ours(steps, "auto"),
    "ours_float32": lambda steps: Ours(steps, "float32"),
    "usual": lambda steps: Usual(steps, 0),
    "usual_2_workers": lambda steps: Usual(steps, 2),
    "pythae": Pythae,
}
"""Name -> the arm, for the number of steps of an epoch."""


def drain(batches: Iterable[Any]) -> None:
    """Read all of `batches`."""
    for _ in batches:
        pass
