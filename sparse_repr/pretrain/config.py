"""PretrainConfig: everything that decides a pretraining run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sparse_repr.command_line.bounds import MOST_TORCH_SEED, require_name, require_threads, require_whole
from sparse_repr.data import DATASETS
from sparse_repr.data.own_factors import parse_factor_sizes
from sparse_repr.data.storage.resident import DATA_PLACES
from sparse_repr.devices import resolve_device, resolve_precision
from sparse_repr.models import ARCHITECTURES
from sparse_repr.objectives import OBJECTIVES, Option, choose_objective
from sparse_repr.objectives.reconstruction import build_reconstruction
from sparse_repr.perceptual.distance import parse_layers
from sparse_repr.pretrain.initialisation import INITIALISATIONS
from sparse_repr.pretrain.schedules import DECAYS, BatchSizes, LearningRate
from sparse_repr.pretrain.step_graph import STEP_GRAPHS, resolve_step_graph
from sparse_repr.registry import lookup

# Far beyond what any of these networks is of use with: more is a slip of the keyboard.
_MOST_IMAGES, _MOST_UNITS = 1_000_000, 100_000
PERCEPTUAL_FEATURES = ("vgg16", "dae")


def _names(kind: str) -> list[str]:
    """Every setting that some objective lists under `kind`, in one fixed order."""
    return list(dict.fromkeys(name for choice in OBJECTIVES.values() for name in getattr(choice, kind)))


def _divides(part: int, whole: int) -> bool:
    return not isinstance(part, bool) and isinstance(part, int) and part >= 1 and whole % part == 0


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """Settings of one pretraining run; the defaults are the published protocol (Burgess et al. 2018).

    Example:
        >>> PretrainConfig(dataset="faces", steps=10_000).objective
        'sparse'
        >>> PretrainConfig(dataset="face")
        Traceback (most recent call last):
            ...
        ValueError: unknown data set 'face'. Did you mean 'faces'? Known: cars3d, celeba, ...
    """

    dataset: str = "dsprites"
    """Data set. Drawn, no files needed: dsprites (the official file is used when found), dsprites_color,
    dsprites_noise, chairs3d, faces. From your files: celeba, chairs, shapes3d, mpi3d, cars3d, smallnorb. Your own:
    folder (of pictures), npz (an array images) or h5 (written by rl.record). python -m sparse_repr.data NAME describes
    each."""
    data_path: str | None = None
    """Your own copy of the data, a file or a folder; without it the folder named by SPARSE_REPR_DATA is searched."""
    factor_sizes: str | None = None
    """Numbers of values of the factors, such as 6,6,2,3,3,40,40, for images without factors that are in the order of a
    grid, the last factor changing fastest."""
    objective: str = "sparse"
    """What is minimised:
    vae: the evidence lower bound (Kingma and Welling 2013);
    beta_vae: the KL term weighted by beta (Higgins et al. 2017);
    sparse: VAE with an L1 penalty on the posterior mean (the paper), or on what sparsity-target names;
    sparse_shrinkage: sparse, with a shrinkage unit that makes exact zeros in the code (Gregor and LeCun 2010);
    spike_and_slab: variational sparse coding, units are 0 with a learned probability (Tonolini et al. 2019);
    laplace_prior: VAE with a Laplace prior, which pulls like an L1 penalty (closed-form KL);
    beta_vae_capacity: the KL held at a capacity that grows with the steps (Burgess et al. 2018);
    factor_vae: total correlation penalised through a discriminator (Kim and Mnih 2018);
    beta_tcvae: total correlation penalised through estimates within the batch (Chen et al. 2018);
    dip_vae_i, dip_vae_ii: the covariance of the means, of the samples, drawn to the identity (Kumar et al. 2018);
    iwae: the importance-weighted bound (Burda et al. 2016);
    info_gan: a generator whose codes a Q network reads back; that network becomes the encoder (Chen et al. 2016)."""
    run_dir: str | None = None
    """Folder for everything the run writes; by default runs/DATASET-OBJECTIVE[-perceptual]-seedSEED."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and the noise."""
    steps: int = 100_000
    """Optimisation steps."""
    batch_size: int = 64
    """Images per step."""
    first_batch_size: int | None = None
    """Images per step at first: batch_size halved a number of times. The batch doubles every batch_growth_steps steps
    until it is batch_size, which it is throughout unless this is set."""
    batch_growth_steps: int | None = None
    """Steps that each smaller batch is kept for; with first_batch_size."""
    code_size: int = 10
    """D, the number of units of the code."""
    architecture: str = "burgess"
    """Network: burgess (4 convolutions of 32 channels, two dense layers of 256), burgess_shrinkage (exact zeros in its
    mean) or burgess_spike_and_slab; with burgess, sparse_shrinkage and spike_and_slab take theirs by themselves."""
    image_size: int = 64
    """Height and width of the network's input, 64 or 32; other images are resized to it."""
    reconstruction: str = "bernoulli"
    """Reconstruction loss of the pixels: bernoulli, gaussian (sum of squared errors) or laplace (of absolute errors);
    info_gan has none."""
    pixel_weight: float = 1.0
    """Weight of that loss; 0 leaves it out, for a perceptual loss alone (the paper, section 3.2)."""
    perceptual_weight: float = 0.0
    """Weight of the perceptual loss (Johnson et al. 2016), relative to a loss of the size of the pixels' sum."""
    perceptual_features: str = "vgg16"
    """What the perceptual loss compares: vgg16 (python -m sparse_repr.perceptual fetch gets its weights) or dae (a
    denoising autoencoder, trained on the data before the run; DARLA, Higgins et al. 2017)."""
    perceptual_layers: str = "relu1_2,relu2_2,relu3_3"
    """Layers of vgg16, separated by commas: relu1_2, relu2_2, relu3_3, relu4_3; deeper ones cost more."""
    perceptual_weights_path: str | None = None
    """Your own VGG16 weights: a .safetensors file, or torchvision's state dict."""
    style_weight: float = 0.0
    """Weight of the style term (Gram matrices) inside the perceptual loss; vgg16 only."""
    perceptual_resolution: int | None = None
    """Height and width that pictures are averaged down to for the perceptual loss, such as 32: a divisor of image_size
    of at least 8; vgg16 only, and a quarter of its cost at half the size. By default image_size."""
    perceptual_every: int = 1
    """Take the perceptual loss at every k-th step only, k times as strong; the pixel loss is taken at each."""
    perceptual_images: int | None = None
    """Take the perceptual loss on this many images of each batch, a divisor of batch_size, as strong as it is on all;
    by default all."""
    dae_steps: int = 2_000
    """Steps that the denoising autoencoder is trained for."""
    beta: float | None = None
    """Weight of the KL term (beta_vae: 4; sparse, sparse_shrinkage, spike_and_slab, laplace_prior: 1 unless set)."""
    sparsity_weight: float | None = None
    """Weight of the L1 penalty on the posterior mean (sparse, sparse_shrinkage: 1 unless set)."""
    sparsity_target: str | None = None
    """What the L1 penalty is on: mean (unless set), output (mean and log-variance), sample or weights (of the encoder);
    for sparse and sparse_shrinkage."""
    sparsity_warmup: int | None = None
    """Steps over which the weight of the L1 penalty grows linearly from 0 (sparse, sparse_shrinkage: 0 unless set)."""
    sparsity_proximal: bool | None = None
    """Take the penalty on weights as a proximal step, which makes exact zeros (sparse, sparse_shrinkage)."""
    slab_probability: float | None = None
    """Prior probability that a unit is used (spike_and_slab: 0.2 unless set)."""
    prior_scale: float | None = None
    """Scale of the Laplace prior (laplace_prior: 0.7071, variance 1, unless set)."""
    capacity_weight: float | None = None
    """Weight gamma of the distance of the KL from its capacity (beta_vae_capacity: 100 unless set)."""
    capacity_nats: float | None = None
    """Capacity that is reached in the end (beta_vae_capacity: 25 unless set)."""
    capacity_steps: int | None = None
    """Steps over which the capacity grows linearly from 0 (beta_vae_capacity: 100,000 unless set)."""
    total_correlation_weight: float | None = None
    """Weight of the total correlation (factor_vae, beta_tcvae: 6.4 unless set)."""
    mutual_information_weight: float | None = None
    """Weight of the index-code mutual information (beta_tcvae: 1 unless set)."""
    dimension_kl_weight: float | None = None
    """Weight of the dimension-wise KL (beta_tcvae: 1 unless set)."""
    density_estimator: str | None = None
    """How beta_tcvae estimates q(z) within a batch: mws (unless set) or mss."""
    covariance_weight: float | None = None
    """Weight of the covariances between units (dip_vae_i, dip_vae_ii: 10 unless set)."""
    variance_weight: float | None = None
    """Weight of the variances' distance from 1 (dip_vae_i: 100, dip_vae_ii: 10 unless set)."""
    importance_samples: int | None = None
    """Samples per image (iwae: 5 unless set)."""
    information_weight: float | None = None
    """Weight of the mutual information between code and picture (info_gan: 0.1 unless set)."""
    noise_units: int | None = None
    """Size of the generator's noise beside the code (info_gan: 5 unless set)."""
    discriminator_learning_rate: float | None = None
    """Learning rate of the discriminator (factor_vae: 1e-4, info_gan: 1e-3 unless set)."""
    discriminator_batch: str | None = None
    """Where factor_vae's permuted codes come from: second (a batch of its own, unless set) or split (half a batch)."""
    learning_rate: float = 5e-4
    """Learning rate of Adam."""
    learning_rate_warmup: int = 0
    """Steps over which the learning rate grows linearly to its full value. Neither this nor the decay acts on a
    discriminator."""
    learning_rate_decay: str = "constant"
    """What follows the warm-up: constant, or cosine (half a cosine down to final_learning_rate)."""
    learning_rate_decay_steps: int | None = None
    """Step at which the cosine ends; the last step unless set."""
    final_learning_rate: float = 0.0
    """Where the cosine ends."""
    initialisation: str = "default"
    """Initial weights: default (torch's), output_bias (the last layer starts at the mean pixel) or he (that, and
    weights that keep the size of the pictures' signal through every layer; He et al. 2015)."""
    weight_averaging: float = 0.0
    """Decay of the exponential moving average of the weights, such as 0.999; the average is exported. 0: none."""
    device: str = "auto"
    """auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto (bf16 autocast where the hardware multiplies it natively), float32 or bf16."""
    data_on_device: str = "auto"
    """Where the data set is: auto (on a GPU as it is stored, bits or bytes, where it is held in memory or a mapped file
    and takes at most half of the free memory), always (on any device) or never (each batch is copied)."""
    step_graph: str = "auto"
    """How a step is launched: cuda_graph (recorded once, replayed as one launch), compile (torch.compile), none
    (kernel by kernel) or auto (cuda_graph on a GPU, except with a perceptual loss; none elsewhere)."""
    threads: int | None = None
    """CPU threads; by default torch's choice, one per core."""
    log_every: int = 100
    """Steps between TensorBoard scalars."""
    picture_every: int = 5_000
    """Steps between TensorBoard reconstructions and traversals."""
    save_every: int = 1_000
    """Steps between saves of the training state."""
    resume: bool = False
    """Continue the run found in run_dir, or start it where nothing was saved yet. The other settings must be the same;
    steps may be more, and after a loss that was not finite, learning rates and precision may be others."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        for name in ("steps", "dae_steps", "log_every", "picture_every", "save_every", "perceptual_every"):
            require_whole(name, getattr(self, name))
        for name, most in (("batch_size", _MOST_IMAGES), ("code_size", _MOST_UNITS)):
            require_whole(name, getattr(self, name), most=most)
        require_threads(self.threads)
        require_whole("seed", self.seed, least=0, most=MOST_TORCH_SEED)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate needs a positive number, got {self.learning_rate!r}")
        if self.image_size not in (32, 64):
            raise ValueError(f"image_size needs 64 or 32, got {self.image_size!r}")
        lookup(dict.fromkeys(DATA_PLACES), self.data_on_device, "data_on_device")
        lookup(dict.fromkeys(STEP_GRAPHS), self.step_graph, "step_graph")
        self._check_schedules()
        lookup(DATASETS, self.dataset, "data set")
        if self.factor_sizes is not None:
            parse_factor_sizes(self.factor_sizes)
        lookup(ARCHITECTURES, self.architecture, "architecture")
        build_reconstruction(self.reconstruction)
        self.objective_weights()
        self.objective_options()
        self.network_name()
        self._check_losses()
        # paths are kept as text so that config.json and --help stay plain
        for name in ("data_path", "run_dir", "perceptual_weights_path"):
            value = getattr(self, name)
            require_name(name, value)
            if value is not None:
                object.__setattr__(self, name, str(value))

    def objective_weights(self) -> dict[str, float]:
        """The weights of the objective's terms, defaults filled in.

        Raises:
            ValueError: unknown objective, or a weight that the objective does not take.
        """
        given = {name: getattr(self, name) for name in _names("default_weights")}
        return choose_objective(self.objective).resolve_weights(self.objective, given)

    def objective_options(self) -> dict[str, Option]:
        """The further settings of the objective, defaults filled in.

        Raises:
            ValueError: unknown objective, a setting that it does not take, or a value it cannot use.
        """
        given = {name: getattr(self, name) for name in _names("default_options")}
        return choose_objective(self.objective).resolve_options(self.objective, given)

    def network_name(self) -> str:
        """The entry of `ARCHITECTURES` that is trained: `architecture`, with the head that the objective needs.

        Raises:
            ValueError: the objective cannot train that architecture.
        """
        heads, head = choose_objective(self.objective).heads, ARCHITECTURES[self.architecture].head
        if head in heads:
            return self.architecture
        if head == "gaussian":
            return f"{self.architecture}_{heads[0]}"
        raise ValueError(
            f"objective {self.objective!r} cannot train architecture {self.architecture!r}: it needs an encoder that "
            f"ends in {' or '.join(heads)}, this one ends in {head}; leave architecture (--architecture) out"
        )

    def batch_sizes(self) -> BatchSizes:
        """The number of images of every step."""
        growth = self.batch_growth_steps
        return BatchSizes(self.batch_size, self.first_batch_size, 1 if growth is None else growth)

    def learning_rates(self) -> LearningRate:
        """The learning rate of every step."""
        cosine = self.learning_rate_decay == "cosine"
        return LearningRate(
            self.learning_rate,
            self.learning_rate_warmup,
            (self.learning_rate_decay_steps or self.steps) if cosine else None,
            self.final_learning_rate,
        )

    def _check_schedules(self) -> None:
        lookup(dict.fromkeys(DECAYS), self.learning_rate_decay, "learning-rate decay")
        lookup(dict.fromkeys(INITIALISATIONS), self.initialisation, "initialisation")
        if self.learning_rate_warmup < 0:
            raise ValueError(
                f"learning_rate_warmup needs a whole number of at least 0, got {self.learning_rate_warmup!r}"
            )
        rates = self.learning_rates()
        if rates.decay_steps is None:
            if self.learning_rate_decay_steps is not None or self.final_learning_rate:
                raise ValueError(
                    "learning_rate_decay_steps and final_learning_rate need learning_rate_decay 'cosine', got "
                    f"{self.learning_rate_decay!r}"
                )
        elif rates.decay_steps <= rates.warmup:
            raise ValueError(
                f"the cosine needs to end after the learning_rate_warmup of {rates.warmup} steps, got step "
                f"{rates.decay_steps}: set learning_rate_decay_steps"
            )
        elif not 0 <= rates.final <= rates.peak:
            raise ValueError(f"final_learning_rate needs a number in 0..{rates.peak}, got {rates.final!r}")
        if (self.first_batch_size is None) != (self.batch_growth_steps is None):
            raise ValueError(
                "first_batch_size and batch_growth_steps need each other, got "
                f"{self.first_batch_size!r} and {self.batch_growth_steps!r}"
            )
        self.batch_sizes()
        if not 0 <= self.weight_averaging < 1:
            raise ValueError(
                f"weight_averaging needs a number of at least 0 and below 1, got {self.weight_averaging!r}"
            )

    def _check_losses(self) -> None:
        choice = choose_objective(self.objective)
        for name in ("batch_size", "first_batch_size"):
            size = getattr(self, name)
            if size is not None and size < choice.smallest_batch:
                raise ValueError(
                    f"objective {self.objective!r} needs a {name} of at least {choice.smallest_batch} to estimate its "
                    f"terms within a batch, got {size}"
                )
        for name in ("pixel_weight", "perceptual_weight", "style_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} needs a finite number of at least 0, got {value!r}")
        lookup(dict.fromkeys(PERCEPTUAL_FEATURES), self.perceptual_features, "perceptual features")
        parse_layers(self.perceptual_layers)
        if not choice.reconstructs and (self.perceptual_weight or self.pixel_weight != 1):
            raise ValueError(
                f"objective {self.objective!r} takes no pixel_weight and no perceptual_weight: it never compares a "
                "reconstruction with its image, a discriminator judges the pictures"
            )
        if choice.needs_likelihood and (self.perceptual_weight or self.pixel_weight != 1):
            raise ValueError(
                f"objective {self.objective!r} takes no perceptual_weight and a pixel_weight of 1: its bound needs the "
                "reconstruction to be a likelihood, which a weighted or perceptual distance is not"
            )
        if not self.pixel_weight and not self.perceptual_weight:
            raise ValueError("pixel_weight 0 needs a positive perceptual_weight, got 0: nothing would be reconstructed")
        if self.style_weight and (not self.perceptual_weight or self.perceptual_features != "vgg16"):
            raise ValueError(
                "style_weight needs a positive perceptual_weight and perceptual_features 'vgg16': Gram matrices are "
                "taken of its feature maps"
            )
        self._check_perceptual_cost()

    def _check_perceptual_cost(self) -> None:
        reduced = {
            "perceptual_resolution": self.perceptual_resolution is not None,
            "perceptual_every": self.perceptual_every != 1,
            "perceptual_images": self.perceptual_images is not None,
        }
        for name, given in reduced.items():
            if given and not self.perceptual_weight:
                raise ValueError(f"{name} needs a positive perceptual_weight, got 0: there is no perceptual loss")
        if reduced["perceptual_every"] and not self.pixel_weight:
            raise ValueError(
                f"perceptual_every {self.perceptual_every} needs a positive pixel_weight, got 0: nothing would be "
                "reconstructed at the steps between"
            )
        if self.perceptual_images is not None and not _divides(self.perceptual_images, self.batch_size):
            raise ValueError(
                f"perceptual_images needs a divisor of batch_size {self.batch_size}, got {self.perceptual_images!r}"
            )
        if self.perceptual_resolution is None:
            return
        if not _divides(self.perceptual_resolution, self.image_size) or self.perceptual_resolution < 8:
            raise ValueError(
                f"perceptual_resolution needs a divisor of image_size {self.image_size} of at least 8, got "
                f"{self.perceptual_resolution!r}"
            )
        if self.perceptual_features != "vgg16":
            raise ValueError(
                f"perceptual_resolution needs perceptual_features 'vgg16', got {self.perceptual_features!r}: the "
                "denoising autoencoder takes pictures of image_size"
            )

    def run_name(self, marks: str = "") -> str:
        """What a run is called by default; `marks` stand before the seed."""
        loss = "-perceptual" if self.perceptual_weight else ""
        return f"{self.dataset}-{self.objective}{loss}{marks}-seed{self.seed}"

    def run_folder(self) -> Path:
        """Where the run is written."""
        return Path(self.run_dir or f"runs/{self.run_name()}")

    def resolve(self) -> PretrainConfig:
        """The same settings with nothing left to chance: device, precision, threads, weights and folder are named."""
        device = resolve_device(self.device)
        settings: dict[str, Any] = {**self.objective_weights(), **self.objective_options()}
        return dataclasses.replace(
            self,
            run_dir=str(self.run_folder()),
            device=str(device),
            precision=resolve_precision(self.precision, device),
            step_graph=resolve_step_graph(self.step_graph, device, self._why_not_one_launch()),
            threads=self.threads or torch.get_num_threads(),
            architecture=self.network_name(),
            learning_rate_decay_steps=self.learning_rates().decay_steps,
            **settings,
        )

    def _why_not_one_launch(self) -> str | None:
        """Why a step of this run is not recorded or compiled as a whole; None where it can be."""
        if self.perceptual_weight:
            return "a perceptual loss computes for long enough to hide the launches, and may differ from step to step"
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain values of what decides the result; how a call behaves (resume, progress, where) is left out."""
        values = dataclasses.asdict(self)
        for name in ("resume", "progress", "run_dir", "data_on_device"):
            del values[name]
        return values
