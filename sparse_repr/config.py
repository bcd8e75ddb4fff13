"""PretrainConfig: everything that decides a pretraining run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sparse_repr.data import DATASETS
from sparse_repr.devices import resolve_device, resolve_precision
from sparse_repr.models import ARCHITECTURES
from sparse_repr.objectives import choose_objective
from sparse_repr.reconstruction import build_reconstruction
from sparse_repr.registry import lookup


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Settings of one pretraining run; the defaults are the published protocol (Burgess et al. 2018)."""

    dataset: str = "dsprites"
    """Data set. Drawn, no files needed: dsprites (the official file is used when found), dsprites_color,
    dsprites_noise, chairs3d, faces. From your files: celeba, chairs, shapes3d, mpi3d, cars3d, smallnorb. Your own:
    folder (of pictures) or h5 (written by rl.record). python -m sparse_repr.data NAME describes each."""
    data_path: str | None = None
    """Your own copy of the data, a file or a folder; without it the folder named by SPARSE_REPR_DATA is searched."""
    objective: str = "sparse"
    """vae (evidence lower bound, Kingma 2013), beta_vae (KL weighted by beta, Higgins 2017) or sparse (VAE with an L1
    penalty on the posterior mean, the paper)."""
    run_dir: str | None = None
    """Folder for everything the run writes; by default runs/DATASET-OBJECTIVE-seedSEED."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and the noise."""
    steps: int = 100_000
    """Optimisation steps."""
    batch_size: int = 64
    """Images per step."""
    code_size: int = 10
    """D, the number of units of the code."""
    architecture: str = "burgess"
    """Network: burgess (4 convolutions of 32 channels, two dense layers of 256)."""
    image_size: int = 64
    """Height and width of the network's input, 64 or 32; other images are resized to it."""
    reconstruction: str = "bernoulli"
    """Reconstruction loss: bernoulli or gaussian (sum of squared errors)."""
    beta: float | None = None
    """Weight of the KL term (beta_vae: 4, sparse: 1 unless set; vae: fixed at 1)."""
    sparsity_weight: float | None = None
    """Weight of the L1 penalty on the posterior mean (sparse: 1 unless set)."""
    learning_rate: float = 5e-4
    """Learning rate of Adam."""
    device: str = "auto"
    """auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto (bf16 autocast where the hardware multiplies it natively), float32 or bf16."""
    threads: int | None = None
    """CPU threads; by default torch's choice, one per core."""
    log_every: int = 100
    """Steps between TensorBoard scalars."""
    picture_every: int = 5_000
    """Steps between TensorBoard reconstructions and traversals."""
    save_every: int = 1_000
    """Steps between saves of the training state."""
    resume: bool = False
    """Continue the run found in run_dir; the other settings must be the same, steps may be more."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "code_size", "log_every", "picture_every", "save_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} needs a whole number of at least 1, got {value!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads needs a whole number of at least 1, got {self.threads!r}")
        if self.seed < 0:
            raise ValueError(f"seed needs a whole number of at least 0, got {self.seed!r}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate needs a positive number, got {self.learning_rate!r}")
        if self.image_size not in (32, 64):
            raise ValueError(f"image_size needs 64 or 32, got {self.image_size!r}")
        lookup(DATASETS, self.dataset, "data set")
        lookup(ARCHITECTURES, self.architecture, "architecture")
        build_reconstruction(self.reconstruction)
        self.objective_weights()
        # paths are kept as text so that config.json and --help stay plain
        for name in ("data_path", "run_dir"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, str(value))

    def objective_weights(self) -> dict[str, float]:
        """The weights of the objective's terms, defaults filled in.

        Raises:
            ValueError: unknown objective, or a weight that the objective does not take.
        """
        given = {"beta": self.beta, "sparsity_weight": self.sparsity_weight}
        return choose_objective(self.objective).resolve_weights(self.objective, given)

    def run_folder(self) -> Path:
        """Where the run is written."""
        return Path(self.run_dir or f"runs/{self.dataset}-{self.objective}-seed{self.seed}")

    def resolve(self) -> PretrainConfig:
        """The same settings with nothing left to chance: device, precision, threads, weights and folder are named."""
        device, weights = resolve_device(self.device), self.objective_weights()
        return dataclasses.replace(
            self,
            run_dir=str(self.run_folder()),
            device=str(device),
            precision=resolve_precision(self.precision, device),
            threads=self.threads or torch.get_num_threads(),
            beta=weights.get("beta", self.beta),
            sparsity_weight=weights.get("sparsity_weight", self.sparsity_weight),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values of what decides the result; how a call behaves (resume, progress, where) is left out."""
        values = dataclasses.asdict(self)
        for name in ("resume", "progress", "run_dir"):
            del values[name]
        return values
