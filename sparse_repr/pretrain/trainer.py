"""pretrain_encoder: the training loop, from a configuration to a run folder."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sparse_repr import figures
from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted, stop_on_signal
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.crop import parse_crop
from sparse_repr.devices import autocast_for, cpu_threads
from sparse_repr.encoder import FrozenEncoder
from sparse_repr.encoder.code_use import some_training_images
from sparse_repr.encoder.collapse import warn_if_collapsed
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.models import ARCHITECTURES, VAE, KeypointEncoder, build_vae, split_code
from sparse_repr.objectives import Objective, background_only_loss, choose_objective
from sparse_repr.objectives.base import StepNumber
from sparse_repr.objectives.reconstruction import Reconstruction, SalientReconstruction, build_reconstruction
from sparse_repr.perceptual.preparation import Preparation
from sparse_repr.perceptual.variances import VARIANCE_IMAGES
from sparse_repr.pretrain.averaging import WeightAverage
from sparse_repr.pretrain.batches import BatchOrder, choose_batches
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.dead_neurons import recycle_dead_neurons
from sparse_repr.pretrain.denoising import median_image
from sparse_repr.pretrain.export import export_run
from sparse_repr.pretrain.freed_memory import keep_freed_memory
from sparse_repr.pretrain.health import HealthCheck
from sparse_repr.pretrain.independent_units import make_units_independent
from sparse_repr.pretrain.initialisation import initialise, start
from sparse_repr.pretrain.loggers import Logger, open_logger, require_logger
from sparse_repr.pretrain.opening import OPENING_IMAGES, open_closed_units, restart
from sparse_repr.pretrain.run_folder import (
    as_begun,
    locked_run_folder,
    note_not_finite,
    open_run_folder,
    require_same_images,
    resumable,
    save_state,
    saved_state,
    training_images_of,
    write_config,
)
from sparse_repr.pretrain.shares import ONLY_PROCESS, Shares
from sparse_repr.pretrain.shifting import NUMBERS, shift_images
from sparse_repr.pretrain.step_graph import StepGraph
from sparse_repr.pretrain.term_sums import NonFiniteLossError, TermSums
from sparse_repr.pretrain.training_state import check_state

_PICTURES = 10
_TRAVERSED = 9
_BACKGROUND_IMAGES = 1_000


@contextlib.contextmanager
def opened_run(
    config: PretrainConfig, data: FactorDataset | None = None, shares: Shares = ONLY_PROCESS
) -> Iterator[tuple[Trainer, Logger | None]]:
    """Hold the run folder of a resolved configuration, with a trainer at the step of the folder's last save.

    Args:
        config: what `PretrainConfig.resolve` returned.
        data: the data set, where it is in memory already.
        shares: the processes that train this run together; the first alone holds and writes the folder.

    Yields:
        The trainer, and the writer of its scalars (None in any process but the first).

    Raises:
        ValueError, FileExistsError, FileNotFoundError, OSError: the data or the folder cannot be used.
        TrainingStoppedError: a file of the run cannot be written once it has started.
    """
    with contextlib.ExitStack() as stack:

        def claim() -> dict[str, Any] | None:
            stack.enter_context(locked_run_folder(config.run_folder()))
            return open_run_folder(config)

        state = shares.from_first(claim)
        trainer = Trainer(
            config,
            load_run_data(config) if data is None else data,
            shares,
        )
        stack.callback(trainer.batches.close)
        if state is not None:
            require_same_images(trainer.folder, trainer.data)
            trainer.load_state(state)
        writer = None
        if shares.rank == 0:
            require_logger(config.logger)
            write_config(config, trainer.step, training_images_of(trainer.data))
            stack.enter_context(resumable(trainer.folder))
        try:
            if shares.rank == 0:
                writer = stack.enter_context(_events(trainer))
            yield trainer, writer
        except CommandInterrupted as stopped:
            # the folder is this run's by now, and no step was taken yet that could be saved
            stopped.advice = "the same command plus --resume goes on"
            raise


@contextlib.contextmanager
def _events(trainer: Trainer) -> Iterator[Logger]:
    config = trainer.config
    writer = open_logger(config.logger, trainer.folder, trainer.step, config.to_json())
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk, which may be what ended the block
            writer.close()
        raise
    writer.close()


def load_run_data(config: PretrainConfig) -> FactorDataset:
    """The data set that a configuration names."""
    return load_dataset(config.dataset, config.data_path, factor_sizes=config.factor_sizes, progress=config.progress)


def pretrain_encoder(
    config: PretrainConfig, *, data: FactorDataset | None = None, on_steps: Callable[[int], None] | None = None
) -> Path:
    """Train one encoder and write its run folder.

    The folder then holds `config.json`, `encoder.safetensors` (what `load_encoder` reads), `vae.safetensors` (unless
    the objective has no decoder), `state.pt` and TensorBoard events. On the CPU a run that was stopped and resumed
    gives the same bits as one that was not, for the same number of threads.

    Args:
        config: the settings.
        data: the data set that `config` names, where it is in memory already; loaded without it.
        on_steps: called with the number of steps taken since its last call, now and then; for progress.

    Returns:
        The run folder.

    Raises:
        TypeError, ValueError, FileExistsError, FileNotFoundError, OSError: the settings, the data or the folder cannot
            be used; raised before training starts.
        TrainingStoppedError: a file of the run cannot be written; what was saved before is kept.
        NonFiniteLossError: the loss became NaN or infinite; the last good state is exported, and `resume` goes on from
            it with another learning rate or precision, if asked for.
        TrainingInterrupted: SIGINT or SIGTERM; the state was saved.

    Warns:
        IgnoredCodeWarning: the decoder used nothing of the code at a look of `health_check`; training goes on.
        CollapsedEncoderWarning: no unit of the code is active in the end.
    """
    if not isinstance(config, PretrainConfig):
        raise TypeError(f"pretrain_encoder needs a PretrainConfig, got {type(config).__name__}")
    config = as_begun(config).resolve()
    with cpu_threads(config.threads), opened_run(config, data) as (trainer, writer):
        trainer.run(writer, on_steps)
        return trainer.folder


class Trainer:
    """The state of one run: networks, optimiser, random generator and step."""

    def __init__(self, config: PretrainConfig, data: FactorDataset, shares: Shares = ONLY_PROCESS) -> None:
        self.config = config
        self.data = data
        self.shares = shares
        self.folder = config.run_folder()
        self.device = torch.device(config.device)
        self.autocast = autocast_for(self.device, config.precision)
        """Context for the networks' forward passes, in the precision of the run."""
        if self.device.type == "cpu":
            keep_freed_memory()
        channels, height, width = data.image_shape
        self.preprocessing = Preprocessing(
            channels=channels,
            source_size=(height, width),
            network_size=(config.image_size, config.image_size),
            crop=None if config.crop is None else parse_crop(config.crop),
        )
        self._image_shape = (channels, config.image_size, config.image_size)
        self.arguments = {"channels": channels, "size": config.image_size, "code_size": config.code_size}
        vae = build_vae(config.network_name(), self.arguments, seed=config.seed)
        start(vae, ARCHITECTURES[config.network_name()], data, self.preprocessing, seed=config.seed)
        initialise(vae, config.initialisation, data, self.preprocessing, seed=config.seed)
        vae = vae.to(self.device).to(memory_format=torch.channels_last)
        self.denoising = config.denoising()
        needs_median = self.denoising.background or config.saliency_weight
        self._median = median_image(self._background_images()) if needs_median else None
        reconstruction, self.preparation = config.perceptual().build(
            self._pixel_loss(),
            channels=channels,
            seed=config.seed,
            step=lambda: self.step,
            device=self.device,
            precision=config.precision,
        )
        choice = choose_objective(config.objective)
        known: dict[str, Any] = {"seed": config.seed, "dataset_size": len(data.split[0])}
        predicted = config.feature_targets()
        if predicted is not None:
            known["targets"] = targets = predicted.build(
                channels=channels, seed=config.seed, device=self.device, precision=config.precision
            )
            self.preparation = Preparation(denoiser=targets.denoiser, targets=targets)
        if "background_loss" in choice.needs:
            known["background_loss"] = self._background_loss(vae)
        self.objective: Objective = choice.build(
            vae,
            reconstruction,
            learning_rate=config.learning_rate,
            **config.objective_weights(),
            **config.objective_options(),
            **{name: known[name] for name in choice.needs},
        )
        vae = self.objective.vae
        self.average = WeightAverage(vae, config.weight_averaging) if config.weight_averaging else None
        self.batch_sizes = config.batch_sizes()
        self.learning_rate = config.learning_rates()
        order = BatchOrder(data.split[0], self.batch_sizes.times(self.objective.batches), config.seed)
        self.batches = choose_batches(data, order, self.device, config.data_on_device)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self._opening_step = config.objective_options().get("opening_step", 0)
        self.step = 0
        self.health = HealthCheck(config.health_check, self.folder, config.to_json())
        self._graph: StepGraph | None = None

    def _background_images(self) -> Tensor:
        return some_training_images(self.data, self.preprocessing, self.device, count=_BACKGROUND_IMAGES)

    def _pixel_loss(self) -> Reconstruction:
        if not self.config.saliency_weight:
            return build_reconstruction(self.config.pixel_reconstruction())
        assert self._median is not None
        return SalientReconstruction(self.config.pixel_reconstruction(), self._median, self.config.saliency_weight)

    def _background_loss(self, vae: VAE) -> float:
        # as what is minimised counts pixels, so that a price keeps its meaning beside other weights
        alone = background_only_loss(vae.encoder.background, self._background_images(), self._pixel_loss())
        return self.config.pixel_weight * alone

    @property
    def network(self) -> VAE:
        """What the run exports: the networks that are trained, or the average of their weights."""
        return self.objective.vae if self.average is None else self.average.network

    def prepare(self, *, progress: bool = False) -> None:
        """Take from the training images what a perceptual loss or predicted features need before the first step,
        unless that is done.

        What is measured is measured on 512 of them (seed 0).

        Args:
            progress: show a bar over the steps that features are trained for.
        """

        def some_images() -> Tensor:
            return some_training_images(self.data, self.preprocessing, self.device, count=VARIANCE_IMAGES)

        self.preparation(
            lambda step: self.network_input(self.batches.draw(step)),
            some_images,
            dae_steps=self.config.dae_steps,
            progress=progress,
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: it is not of this run; nothing of it is loaded then.
        """
        optimisers = {
            name: found
            for name in self.objective.state_dict()
            if isinstance(found := getattr(self.objective, name, None), torch.optim.Optimizer)
        }
        check_state(state, self.state(), optimisers, str(self.folder / "state.pt"))
        groups = [group for optimiser in self.objective.optimisers for group in optimiser.param_groups]
        rates = [group["lr"] for group in groups]
        self.objective.load_state_dict(state["objective"])
        # a state brings its learning rates with it, and those of the settings may be other ones by now
        groups = [group for optimiser in self.objective.optimisers for group in optimiser.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.generator.set_state(state["generator"])
        self.preparation.load_state_dict(state)
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
        self.step = int(state["step"])

    def state(self) -> dict[str, Any]:
        """All that training depends on beside the settings and the data: tensors and plain values."""
        state = {
            "step": self.step,
            "objective": self.objective.state_dict(),
            "generator": self.generator.get_state(),
            **self.preparation.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.network.state_dict()
        return state

    def save(self) -> None:
        """Write `state.pt`.

        Raises:
            NonFiniteLossError: a number in it is NaN or infinite; the file stays as it is.
        """
        state = self.state()
        if not _all_finite(state):
            raise NonFiniteLossError(f"the weights became NaN or infinite by step {self.step}")
        save_state(self.folder, state)

    def export(self) -> FrozenEncoder:
        """Write the files that others read: the frozen encoder and, where there is a decoder, the whole VAE."""
        return export_run(
            self.config,
            self.data,
            self.network,
            self.preprocessing,
            self.arguments,
            steps=self.step,
            measured=self.preparation.describe(),
        )

    def recover(self, error: NonFiniteLossError) -> NonFiniteLossError:
        """Go back to the last save after `error`, and export it; returns the error with what can be done."""
        note_not_finite(self.folder, self.step)
        float32 = " or precision float32 (--precision float32)" if self.config.precision != "float32" else ""
        cure = f"a learning_rate (--learning-rate) below {self.config.learning_rate:g}{float32}"
        state = saved_state(self.folder)
        if state is None:
            return NonFiniteLossError(
                f"{self.folder}: {error}; nothing was saved, and the run starts again with resume (--resume) and {cure}"
            )
        kept = f"{error}; the last good state is kept in {self.folder}"
        self.load_state(state)
        try:
            self.export()
        except NonFiniteLossError as further:
            return NonFiniteLossError(f"{kept}, but {further}: start in another folder (--run-dir) with {cure}")
        return NonFiniteLossError(
            f"{kept}, its encoder is exported, and the run goes on from it with resume (--resume) and {cure}"
        )

    def draw(self) -> tuple[Tensor, Tensor]:
        """What the next step starts from: what the batches draw for it, and noise (batches * B, n), the objective's
        own, behind it that of what the encoder sees, and last that of the images' shifts."""
        count = self.batch_sizes.size(self.step) * self.objective.batches
        part = self.shares.part(count)
        # every process draws the noise of the whole batch, so that any number of them takes the same steps
        width = self.objective.noise_size + self.denoising.numbers(self._image_shape)
        width += NUMBERS * bool(self.config.random_shift)
        noise = torch.randn((count, width), generator=self.generator, device=self.device, dtype=torch.float32)
        return self.batches.draw(self.step, part), noise[part]

    def network_input(self, drawn: Tensor) -> Tensor:
        """What the batches drew -> images as the network takes them, (n, C, S, S) in 0..1, channels last.

        It is a part of the step, so that a graph of the step holds it too.
        """
        return self.preprocessing(self.batches.pixels(drawn)).contiguous(memory_format=torch.channels_last)

    def train_step(self) -> dict[str, Tensor]:
        """One optimisation step; the next one may overwrite its terms."""
        if self._opening_step and self.step == self._opening_step:
            self._open_units()
        self.learning_rate.set_on(self.objective.optimiser, self.step)
        way = self.config.step_graph
        if way == "none":
            terms = self.take(*self.draw(), self.step)
        else:
            if self._graph is None:
                self._graph = StepGraph(
                    self.take,
                    self.objective.optimisers,
                    self.device,
                    state=self.objective.state_dict,
                    generators=[self.generator],
                    compiled=way == "compile",
                )
            terms = self._graph(*self.draw(), step_number=self.step)
        terms = self.shares.average(terms)
        if self.average is not None:
            self.average.update(self.objective.vae, self.step)
        self.step += 1
        return terms

    def _open_units(self) -> None:
        images = some_training_images(self.data, self.preprocessing, self.device, count=OPENING_IMAGES)
        if self.config.opening_ica:
            make_units_independent(self.objective.vae, images, seed=self.config.seed)
        if self.config.opening_recycle:
            recycle_dead_neurons(self.objective.vae, images, seed=self.config.seed)
        open_closed_units(self.objective.vae, images, seed=self.config.seed)
        for optimiser in self.objective.optimisers:
            restart(optimiser)
        if self.average is not None:
            self.average = WeightAverage(self.objective.vae, self.config.weight_averaging)

    def take(self, drawn: Tensor, noise: Tensor, step_number: StepNumber) -> dict[str, Tensor]:
        """The step itself, from what `draw` returned; it counts nothing."""
        images, median = self.network_input(drawn), self._median
        if self.config.random_shift:
            noise, shifts = noise.split([noise.shape[1] - NUMBERS, NUMBERS], 1)
            images = shift_images(images, shifts, self.config.random_shift)
            if median is not None:  # the background moves with what stands before it
                median = shift_images(median.expand(images.shape), shifts, self.config.random_shift)
        if not self.denoising:
            return self.objective.step(images, noise, self.autocast, step_number)
        own, numbers = noise.split([self.objective.noise_size, noise.shape[1] - self.objective.noise_size], 1)
        with self.objective.vae.shows(self.denoising.seen_by(numbers, median)):
            return self.objective.step(images, own, self.autocast, step_number)

    def images_since(self, step: int) -> int:
        """Images that were trained on since `step` steps had been taken."""
        return self.batch_sizes.position(self.step) - self.batch_sizes.position(step)

    def scalars_due(self, last: bool) -> bool:
        """Whether `record` writes scalars after the present step: with every save too, whose loss must be finite."""
        return last or any(self.step % every == 0 for every in (self.config.log_every, self.config.save_every))

    def is_due(self, last: bool) -> bool:
        """Whether `record` has anything to do after the present step."""
        return self.scalars_due(last) or self.step % self.config.picture_every == 0 or self.health.is_due(self.step)

    def record(self, writer: Logger | None, sums: TermSums, images_per_s: float, *, last: bool) -> dict[str, float]:
        """Write what is due after a step: scalars, pictures and the state; and look at how the run is.

        Args:
            writer: of this run's events; None writes nothing, where another process does.
            sums: of the terms since the last scalars.
            images_per_s: logged beside them.
            last: whether the run ends here, which makes all of it due.

        Returns:
            The means of the terms when scalars are due, else nothing.

        Raises:
            NonFiniteLossError: scalars or the state are due, and a loss or the state was NaN or infinite.
        """
        means = {}
        if self.scalars_due(last):
            first = sums.first_not_finite
            if first is not None:
                raise NonFiniteLossError(f"the loss became NaN or infinite at step {first}")
            means = sums.means()
            if writer is not None:
                for name, value in {**means, "images_per_s": images_per_s}.items():
                    writer.add_scalar(f"train/{name}", value, self.step)
        if writer is not None and self.health.is_due(self.step) and self.objective.vae.decoder is not None:
            images = some_training_images(self.data, self.preprocessing, self.device)
            self.health.look(self.objective.vae, images, writer, self.step)
        # saved first: pictures of weights that are not finite show nothing
        if writer is not None and (last or self.step % self.config.save_every == 0):
            self.save()
        if writer is not None and (last or self.step % self.config.picture_every == 0):
            self.log_pictures(writer)
        return means

    def run(self, writer: Logger | None, on_steps: Callable[[int], None] | None = None) -> None:
        """Train to the end, or to a signal; `on_steps` as in `pretrain_encoder`."""
        config = self.config
        sums = TermSums()
        quiet = not config.progress or writer is None or on_steps is not None
        self.prepare(progress=not quiet)
        started, started_at = time.perf_counter(), self.step
        self.objective.vae.train()
        bar = tqdm(total=config.steps, initial=self.step, unit="step", desc=self.folder.name, disable=quiet)
        stopping, reported = False, self.step
        encoder: FrozenEncoder | None = None
        with self._recovering(writer), bar, stop_on_signal() as signals:
            while self.step < config.steps and not stopping:
                sums.add(self.train_step(), self.step)
                stopping = self.shares.agree_to_stop(bool(signals), self.step)
                last = self.step == config.steps or stopping
                if self.is_due(last):
                    rate = self.images_since(started_at) / (time.perf_counter() - started)
                    means = self.record(writer, sums, rate, last=last)
                    shown = {name: f"{value:.4g}" for name, value in means.items()}
                    bar.set_postfix({**shown, "images/s": f"{rate:.0f}"}, refresh=False)
                    bar.update(self.step - reported)
                    if on_steps is not None:
                        on_steps(self.step - reported)
                    reported = self.step
            if writer is not None:
                encoder = self.export()
            if stopping and self.step < config.steps:
                raise TrainingInterrupted(self.folder, self.step, signals[0] if signals else signal.SIGTERM)
        if encoder is not None:
            warn_if_collapsed(encoder, stacklevel=3)

    @contextlib.contextmanager
    def _recovering(self, writer: Logger | None) -> Iterator[None]:
        try:
            yield
        except NonFiniteLossError as error:
            if writer is None:  # the first process tells and writes
                raise
            raise self.recover(error) from error

    def _changed(self, images: Tensor) -> list[Tensor]:
        """Images, below them moved at random, and below these as an encoder that denoises sees them; what is set."""
        generator = torch.Generator().manual_seed(self.step)
        numbers = torch.randn((len(images), self.denoising.numbers(self._image_shape)), generator=generator)
        rows, median = [images], self._median
        if self.config.random_shift:
            shifts = torch.randn((len(images), NUMBERS), generator=generator).to(self.device)
            rows.append(shift_images(images, shifts, self.config.random_shift))
            if median is not None:
                median = shift_images(median.expand(images.shape), shifts, self.config.random_shift)
        if self.denoising:
            rows.append(self.denoising.corrupt(rows[-1], numbers.to(self.device), median))
        return rows

    def log_pictures(self, writer: Logger) -> None:
        """TensorBoard images from the present weights: reconstructions, moved and corrupted images, and traversals or
        keypoints; none where nothing decodes."""
        if not choose_objective(self.config.objective).decodes:
            return
        indices = np.linspace(0, len(self.data) - 1, _PICTURES).astype(np.int64)
        pixels = torch.from_numpy(self.data.images(indices)).to(self.device)
        vae = self.network
        with torch.no_grad(), vae.at_rest():
            images = self.preprocessing(pixels)
            posterior = vae.encoder(images)
            reconstructed = torch.sigmoid(vae.decoder(posterior.mean))
        writer.add_image("reconstructions", figures.tile([images, reconstructed]).nan_to_num(), self.step)
        if self.denoising or self.config.random_shift:
            name = "denoising" if self.denoising else "random_shift"
            writer.add_image(name, figures.tile(self._changed(images)), self.step)
        if isinstance(vae.encoder, KeypointEncoder):
            # a number of a keypoint alone, without the two others, means nothing: there is no traversal
            marked = figures.mark_keypoints(images, *split_code(posterior.mean, vae.encoder.looks))
            writer.add_image("keypoints", figures.tile([marked]).nan_to_num(), self.step)
            return
        codes = posterior.mean.cpu().numpy()
        units = figures.strongest_units(codes.std(0))
        choice = choose_objective(self.config.objective)
        # without a standard normal prior nothing says how large values are
        if ARCHITECTURES[self.config.network_name()].posterior == "point" or not choice.standard_normal:
            values = torch.from_numpy(figures.quantile_values(codes[:, units], _TRAVERSED))
        else:
            units = np.sort(units)
            values = torch.linspace(-2, 2, _TRAVERSED).expand(len(units), -1)
        with vae.at_rest():
            traversed = figures.decode_traversals(vae.decoder, posterior.mean[0], values, units)
        writer.add_image("traversals", figures.tile(list(traversed)).nan_to_num(), self.step)


def _all_finite(state: Any) -> bool:
    """Whether no tensor in nested dicts and lists holds a NaN or an infinity."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(state.isfinite().all())
    if isinstance(state, dict):
        return all(map(_all_finite, state.values()))
    return not isinstance(state, list | tuple) or all(map(_all_finite, state))
