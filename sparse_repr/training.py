"""pretrain_encoder: the training loop, from a configuration to a run folder."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from sparse_repr import figures
from sparse_repr.config import PretrainConfig
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.denoising import DenoisingFeatures
from sparse_repr.devices import autocast_for, torch_threads
from sparse_repr.feature_distance import PerceptualDistance, VGGFeatures, combine_reconstruction, parse_layers
from sparse_repr.models import build_vae
from sparse_repr.objectives import Objective, choose_objective
from sparse_repr.preprocessing import Preprocessing
from sparse_repr.reconstruction import Reconstruction, build_reconstruction
from sparse_repr.run_folder import locked_run_folder, open_run_folder, save_state, write_config
from sparse_repr.trained_vae import export_run
from sparse_repr.vgg_weights import load_vgg16

_PICTURES = 10


class TrainingInterrupted(Exception):  # noqa: N818 (like KeyboardInterrupt: a request, not an error)
    """A signal asked the run to stop; its state was saved and `--resume` continues it."""

    def __init__(self, folder: Path, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}; the state is in {folder}, continue with --resume")
        self.folder = folder
        self.step = step
        self.signal_number = signal_number


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the last good state was kept."""


class BatchOrder:
    """Which items each step trains on: an endless row of seeded permutations, a function of (seed, step) alone."""

    def __init__(self, indices: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._indices = indices
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = indices

    def __call__(self, step: int) -> npt.NDArray[np.int64]:
        """Item indices of step `step` (counted from 0), int64 (batch_size,)."""
        count = len(self._indices)
        position = step * self._batch_size
        parts: list[npt.NDArray[np.int64]] = []
        missing = self._batch_size
        while missing:
            epoch, offset = divmod(position, count)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = self._indices[np.random.default_rng((self._seed, epoch)).permutation(count)]
            parts.append(self._order[offset : offset + missing])
            position += len(parts[-1])
            missing -= len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class TermSums:
    """Sums of an objective's terms, kept on the device so that logging does not make every step wait for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._first_bad: Tensor | None = None

    def add(self, terms: dict[str, Tensor], step: int) -> None:
        """Add the terms of one step; remembers the first step whose loss is not finite."""
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        if self._first_bad is None:
            self._first_bad = torch.full_like(terms["loss"], -1)
        bad = (self._first_bad < 0) & ~torch.isfinite(terms["loss"])
        self._first_bad = torch.where(bad, float(step), self._first_bad)
        self._count += 1

    def require_finite(self, folder: Path) -> None:
        """Raise `NonFiniteLossError` naming the first step whose loss was NaN or infinite."""
        first = -1 if self._first_bad is None else int(self._first_bad)
        if first >= 0:
            kept = (
                f"the last good state is kept in {folder}" if (folder / "state.pt").is_file() else "nothing was saved"
            )
            raise NonFiniteLossError(
                f"the loss became NaN or infinite at step {first}; {kept}. Lower --learning-rate, "
                "or use --precision float32"
            )

    def means(self) -> dict[str, float]:
        """Mean of each term since the last call."""
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into an entry of the yielded list; a second one interrupts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def pretrain_encoder(config: PretrainConfig) -> Path:
    """Train one encoder and write its run folder.

    The folder then holds `config.json`, `encoder.safetensors` (what `load_encoder` reads), `vae.safetensors`,
    `state.pt` and TensorBoard events. On the CPU a run that was stopped and resumed gives the same bits as one that
    was not, for the same number of threads.

    Returns:
        The run folder.

    Raises:
        ValueError, FileExistsError, FileNotFoundError, OSError: the settings, the data or the folder cannot be used;
            raised before training starts.
        NonFiniteLossError: the loss became NaN or infinite.
        TrainingInterrupted: SIGINT or SIGTERM; the state was saved.
    """
    config = config.resolve()
    with torch_threads(config.threads), locked_run_folder(config.run_folder()):
        state = open_run_folder(config)
        data = load_dataset(config.dataset, config.data_path)
        trainer = Trainer(config, data)
        if state is not None:
            trainer.load_state(state)
        write_config(config)
        with contextlib.closing(SummaryWriter(str(trainer.folder), purge_step=trainer.step or None)) as writer:
            trainer.run(writer)
        return trainer.folder


class Trainer:
    """The state of one run: networks, optimiser, random generator and step."""

    def __init__(self, config: PretrainConfig, data: FactorDataset) -> None:
        self.config = config
        self.data = data
        self.folder = config.run_folder()
        self.device = torch.device(config.device)
        channels, height, width = data.image_shape
        self.preprocessing = Preprocessing(
            channels=channels, source_size=(height, width), network_size=(config.image_size, config.image_size)
        )
        self.arguments = {"channels": channels, "size": config.image_size, "code_size": config.code_size}
        vae = build_vae(config.network_name(), self.arguments, seed=config.seed)
        vae = vae.to(self.device).to(memory_format=torch.channels_last)
        self.denoiser: DenoisingFeatures | None = None
        choice = choose_objective(config.objective)
        known = {"seed": config.seed, "dataset_size": len(data.split[0])}
        self.objective: Objective = choice.build(
            vae,
            self._build_reconstruction(),
            learning_rate=config.learning_rate,
            **config.objective_weights(),
            **config.objective_options(),
            **{name: known[name] for name in choice.needs},
        )
        self.order = BatchOrder(data.split[0], config.batch_size * self.objective.batches, config.seed)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.step = 0

    def _build_reconstruction(self) -> Reconstruction:
        config = self.config
        pixel = build_reconstruction(config.reconstruction)
        if not config.perceptual_weight:
            # the loss itself where its weight is 1: a product would cost a pass and change nothing
            return (
                pixel
                if config.pixel_weight == 1
                else lambda logits, images: config.pixel_weight * pixel(logits, images)
            )
        features: DenoisingFeatures | VGGFeatures
        if config.perceptual_features == "dae":
            features = self.denoiser = DenoisingFeatures(
                channels=self.arguments["channels"], size=config.image_size, seed=config.seed, device=self.device
            )
        else:
            features = VGGFeatures(
                load_vgg16(config.perceptual_weights_path),
                parse_layers(config.perceptual_layers),
                device=self.device,
                precision=config.precision,
            )
        return combine_reconstruction(
            pixel,
            PerceptualDistance(features, style_weight=config.style_weight),
            pixel_weight=config.pixel_weight,
            perceptual_weight=config.perceptual_weight,
        )

    def prepare(self) -> None:
        """Train the denoising autoencoder of a perceptual loss that compares its features, unless that is done."""
        if self.denoiser is not None and not self.denoiser.trained:
            self.denoiser.train(self.images, self.config.dae_steps)

    def load_state(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        self.generator.set_state(state["generator"])
        if self.denoiser is not None:
            self.denoiser.load_state_dict(state["denoiser"])
        self.step = int(state["step"])

    def save(self) -> None:
        state = {"step": self.step, "objective": self.objective.state_dict(), "generator": self.generator.get_state()}
        if self.denoiser is not None:
            state["denoiser"] = self.denoiser.state_dict()
        save_state(self.folder, state)

    def export(self) -> None:
        """Write the files that others read: the frozen encoder and the whole VAE."""
        export_run(self.config, self.data, self.objective.vae, self.preprocessing, self.arguments, steps=self.step)

    def batch(self, step: int) -> Tensor:
        """Images of a step on the device, uint8."""
        pixels = torch.from_numpy(self.data.images(self.order(step)))
        if self.device.type == "cuda":
            return pixels.pin_memory().to(self.device, non_blocking=True)
        return pixels.to(self.device)

    def images(self, step: int) -> Tensor:
        """Images of a step as the network takes them, (batches * B, C, S, S) in 0..1, channels last."""
        return self.preprocessing(self.batch(step)).contiguous(memory_format=torch.channels_last)

    def train_step(self, autocast: torch.autocast) -> dict[str, Tensor]:
        """One optimisation step."""
        images = self.images(self.step)
        noise = torch.randn(
            (len(images), self.objective.noise_size), generator=self.generator, device=self.device, dtype=torch.float32
        )
        terms = self.objective.step(images, noise, autocast, self.step)
        self.step += 1
        return terms

    def run(self, writer: SummaryWriter) -> None:
        config = self.config
        autocast = autocast_for(self.device, config.precision)
        sums = TermSums()
        self.prepare()
        started, started_at = time.perf_counter(), self.step
        self.objective.vae.train()
        bar = tqdm(
            total=config.steps, initial=self.step, unit="step", desc=self.folder.name, disable=not config.progress
        )
        with bar, _stop_on_signal() as signals:
            while self.step < config.steps:
                sums.add(self.train_step(autocast), self.step)
                last = self.step == config.steps or bool(signals)
                saving = last or self.step % config.save_every == 0
                if saving or self.step % config.log_every == 0:
                    sums.require_finite(self.folder)
                    means = sums.means()
                    rate = (self.step - started_at) * config.batch_size / (time.perf_counter() - started)
                    for name, value in {**means, "images_per_s": rate}.items():
                        writer.add_scalar(f"train/{name}", value, self.step)
                    shown = {name: f"{value:.4g}" for name, value in means.items()}
                    bar.set_postfix({**shown, "images/s": f"{rate:.0f}"}, refresh=False)
                    bar.update(self.step - bar.n)
                if last or self.step % config.picture_every == 0:
                    self.log_pictures(writer)
                if saving:
                    self.save()
                if signals:
                    break
            self.export()
        if signals and self.step < config.steps:
            raise TrainingInterrupted(self.folder, self.step, signals[0])

    def log_pictures(self, writer: SummaryWriter) -> None:
        """Reconstructions and traversals, decoded from the present weights, as TensorBoard images."""
        indices = np.linspace(0, len(self.data) - 1, _PICTURES).astype(np.int64)
        pixels = torch.from_numpy(self.data.images(indices)).to(self.device)
        vae = self.objective.vae
        with torch.no_grad():
            images = self.preprocessing(pixels)
            posterior = vae.encoder(images)
            reconstructed = torch.sigmoid(vae.decoder(posterior.mean))
            values = torch.linspace(-2, 2, 9)
            traversed = figures.decode_traversals(
                vae.decoder, posterior.mean[0], values.expand(self.config.code_size, -1)
            )
        writer.add_image("reconstructions", figures.tile([images, reconstructed]), self.step)
        writer.add_image("traversals", figures.tile(list(traversed)), self.step)
