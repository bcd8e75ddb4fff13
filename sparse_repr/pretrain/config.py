"""PretrainConfig: everything that decides a pretraining run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from sparse_repr.command_line.bounds import (
    MOST_TORCH_SEED,
    require_name,
    require_threads,
    require_types,
    require_whole,
    take_plain_numbers,
)
from sparse_repr.data import DATASETS
from sparse_repr.data.crop import parse_crop
from sparse_repr.data.own_factors import parse_factor_sizes
from sparse_repr.data.storage.resident import DATA_PLACES
from sparse_repr.devices import resolve_device, resolve_precision
from sparse_repr.models import ARCHITECTURES, DEFAULT_ARCHITECTURE, choose_architecture
from sparse_repr.objectives import (
    Option,
    choose_objective,
    network_for,
    option_names,
    read_settings,
    require_batch,
    require_code_size,
    require_reconstruction,
    resolve_options,
    resolve_weights,
    weight_names,
)
from sparse_repr.objectives.entry import weight as check_weight
from sparse_repr.objectives.reconstruction import build_reconstruction
from sparse_repr.perceptual.levels import in_words
from sparse_repr.perceptual.settings import PerceptualSettings
from sparse_repr.perceptual.targets import FeatureTargetSettings
from sparse_repr.pretrain.averaging import require_decay
from sparse_repr.pretrain.denoising import Denoising
from sparse_repr.pretrain.initialisation import require_initialisation
from sparse_repr.pretrain.loggers import DEFAULT_LOGGER, LOGGERS
from sparse_repr.pretrain.objective_help import architectures_in_words, behind_setting, objectives_in_words
from sparse_repr.pretrain.schedules import BatchSizes, LearningRate
from sparse_repr.pretrain.step_graph import STEP_GRAPHS, resolve_step_graph
from sparse_repr.registry import lookup

# Far beyond what any of these networks is of use with: more is a slip of the keyboard.
_MOST_IMAGES, _MOST_UNITS = 1_000_000, 100_000
_KEYPOINTS = 32

ADDED = ("keypoints", "presence_weight", "presence_warmup")
"""Settings that came later, left out of config.json where nothing was set: runs from before still resume."""


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
    crop: str | None = None
    """TOP,LEFT,HEIGHT,WIDTH in pixels of the images: what the encoder sees of them, in pretraining and wherever it is
    used: there it takes whole images of this size, and no others. What is small and decides is larger in it, and what
    is outside draws no attention. By default all."""
    objective: Annotated[str, tyro.conf.arg(help=objectives_in_words())] = "sparse"
    """What is minimised, an entry of `objectives.OBJECTIVES`; --help describes each."""
    run_dir: str | None = None
    """Folder for everything the run writes; by default runs/DATASET-OBJECTIVE[-perceptual]-seedSEED."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and the noise."""
    steps: int = 100_000
    """Optimisation steps."""
    batch_size: int = 64
    """Images per step."""
    first_batch_size: int | None = BatchSizes.first
    """Images per step at first: batch_size halved a number of times. The batch doubles every batch_growth_steps steps
    until it is batch_size, which it is throughout unless this is set."""
    batch_growth_steps: int | None = BatchSizes.growth_steps
    """Steps that each smaller batch is kept for; with first_batch_size."""
    code_size: int = 10
    """D, the number of units of the code."""
    keypoints: int | None = None
    """K, the number of keypoints of the architectures keypoints, keypoints_fine and keypoints_looks. It makes code_size
    3 K, for keypoints_looks 7 K, whatever that was set to; 32 unless set."""
    architecture: Annotated[str, tyro.conf.arg(help=architectures_in_words())] = DEFAULT_ARCHITECTURE
    """Network, an entry of `models.ARCHITECTURES`; --help describes each."""
    image_size: int = 64
    """Height and width of the network's input, 64 or 32, with keypoints 84 or 96 too; other images are resized to
    it."""
    reconstruction: str = "auto"
    """Reconstruction loss of the pixels: bernoulli, gaussian (sum of squared errors) or laplace (of absolute errors);
    auto is gaussian for vaease and bernoulli for all others. info_gan and feature_prediction have none."""
    saliency_weight: float = 0.0
    """How much more pixels count that differ from the median training image: 1 + this times the difference (0..1). 0:
    none. With 50 a line reads the ball of Pong, two pixels, from a VAE's code with an R² of 0.66 instead of 0.34."""
    pixel_weight: float = PerceptualSettings.pixel_weight
    """Weight of that loss; 0 leaves it out, for a perceptual loss alone (the paper, section 3.2)."""
    pixel_start: float = PerceptualSettings.pixel_start
    """That weight at first, with pixel_steps and a perceptual loss: pixels draw the shapes before features take over.
    Where the first of perceptual_levels joins later, pixels count alone until then."""
    pixel_steps: int = PerceptualSettings.pixel_steps
    """Steps over which the weight of the pixels goes linearly from pixel_start to pixel_weight, from where the first of
    perceptual_levels joins. 0: it is pixel_weight throughout."""
    perceptual_weight: float = PerceptualSettings.weight
    """Weight of the perceptual loss (Johnson et al. 2016), relative to a loss of the size of the pixels' sum."""
    perceptual_features: str = PerceptualSettings.features
    """What the perceptual loss compares: vgg16 (python -m sparse_repr.perceptual fetch gets its weights) or dae (a
    denoising autoencoder, trained on the data before the run; DARLA, Higgins et al. 2017)."""
    perceptual_layers: str = PerceptualSettings.layers
    """Layers of vgg16, separated by commas: relu1_2, relu2_2, relu3_3, relu4_3; deeper ones cost more."""
    perceptual_weights_path: str | None = PerceptualSettings.weights_path
    """Your own VGG16 weights: a .safetensors file, or torchvision's state dict."""
    style_weight: float = PerceptualSettings.style_weight
    """Weight of the style term (Gram matrices) inside the perceptual loss; vgg16 only."""
    perceptual_resolution: int | None = PerceptualSettings.resolution
    """Height and width that pictures are averaged down to for the perceptual loss, such as 32: a divisor of image_size
    of at least 8; vgg16 only, and a quarter of its cost at half the size. By default image_size."""
    perceptual_levels: str | None = PerceptualSettings.levels
    """From coarse to fine: resolutions as above, separated by commas, such as 8,16,32@0.12:1/4,64@600:1/8. Behind @ the
    step at which one joins, or the share of the run, below 1; behind : the part of each batch that is compared there,
    as strongly as all of it. Those above image_size are left out, and all are with dae. Without any, one resolution."""
    perceptual_scale: str = PerceptualSettings.scale
    """What the perceptual loss is a share of: image (of each image's own features, times the number of pixels) or data
    (of the variance of the features over the training images, times that of the pixels: the size of a sum of squared
    errors)."""
    roughness_weight: float = PerceptualSettings.roughness_weight
    """Weight of the excess of a reconstruction's squared Laplacian over its image's, against dither; needs
    perceptual_scale data."""
    perceptual_every: int = PerceptualSettings.every
    """Take the perceptual loss at every k-th step only, k times as strong; the pixel loss is taken at each."""
    perceptual_images: int | None = PerceptualSettings.images
    """Take the perceptual loss on this many images of each batch, a divisor of batch_size, as strong as it is on all;
    by default all."""
    dae_steps: int = PerceptualSettings.dae_steps
    """Steps that the denoising autoencoder is trained for."""
    beta: Annotated[float | None, behind_setting("beta")] = None
    """Weight of the KL term."""
    beta_start: Annotated[float | None, behind_setting("beta_start")] = None
    """Weight of the KL term at step 0, with beta_steps: 0 to anneal it from below, more than beta from above, which
    opens the units of the code one after another."""
    beta_steps: Annotated[int | None, behind_setting("beta_steps")] = None
    """Steps over which the weight of the KL term goes linearly from beta_start to beta."""
    opening_step: Annotated[int | None, behind_setting("opening_step")] = None
    """Step at which units that are still closed are opened, towards what the open ones leave out of the picture: few
    units first, by a beta_start far above, and shape and detail in the others afterwards. 0: none."""
    opening_steps: Annotated[int | None, behind_setting("opening_steps")] = None
    """Steps over which the KL term counts less from there on: a tenth for half of them, then back to all of it."""
    opening_ica: bool = False
    """At opening_step, first turn the units that are open into independent components of what they say (RADICAL), so
    that two units that hold a place are its axes and not two directions that the seed chose."""
    opening_recycle: bool = False
    """At opening_step, give the neurons that no image switches on new weights (ReDo): few are left when units open one
    after another, too few for shapes."""
    opening_warmup: int = 0
    """Steps over which the learning rate grows from 0 again behind opening_step, where Adam begins anew and
    does not know the sizes of its first steps."""
    sparsity_weight: Annotated[float | None, behind_setting("sparsity_weight")] = None
    """Weight of the L1 penalty on the posterior mean."""
    sparsity_target: Annotated[str | None, behind_setting("sparsity_target")] = None
    """What the L1 penalty is on: mean, output (mean and log-variance), sample or weights (of the encoder)."""
    sparsity_warmup: Annotated[int | None, behind_setting("sparsity_warmup")] = None
    """Steps over which the weight of the L1 penalty grows linearly from 0."""
    sparsity_start: Annotated[int | None, behind_setting("sparsity_start")] = None
    """Step from which the L1 penalty counts, and its warm-up begins; with perceptual_levels the step at which the last
    of them joins unless set: before that it can hold things in the wrong place."""
    sparsity_proximal: Annotated[bool | None, behind_setting("sparsity_proximal")] = None
    """Take the penalty on weights as a proximal step, which makes exact zeros."""
    slab_probability: Annotated[float | None, behind_setting("slab_probability")] = None
    """Prior probability that a unit is used."""
    prior_scale: Annotated[float | None, behind_setting("prior_scale")] = None
    """Scale of the Laplace prior; its variance is twice the square."""
    capacity_weight: Annotated[float | None, behind_setting("capacity_weight")] = None
    """Weight gamma of the distance of the KL from its capacity."""
    capacity_nats: Annotated[float | None, behind_setting("capacity_nats")] = None
    """Capacity that is reached in the end."""
    capacity_steps: Annotated[int | None, behind_setting("capacity_steps")] = None
    """Steps over which the capacity grows linearly from 0."""
    total_correlation_weight: Annotated[float | None, behind_setting("total_correlation_weight")] = None
    """Weight of the total correlation."""
    mutual_information_weight: Annotated[float | None, behind_setting("mutual_information_weight")] = None
    """Weight of the index-code mutual information."""
    dimension_kl_weight: Annotated[float | None, behind_setting("dimension_kl_weight")] = None
    """Weight of the dimension-wise KL."""
    density_estimator: Annotated[str | None, behind_setting("density_estimator")] = None
    """How q(z) is estimated within a batch: mws (minibatch-weighted sampling) or mss (stratified)."""
    covariance_weight: Annotated[float | None, behind_setting("covariance_weight")] = None
    """Weight of the covariances between units."""
    variance_weight: Annotated[float | None, behind_setting("variance_weight")] = None
    """Weight of the variances' distance from 1."""
    importance_samples: Annotated[int | None, behind_setting("importance_samples")] = None
    """Samples per image."""
    information_weight: Annotated[float | None, behind_setting("information_weight")] = None
    """Weight of the mutual information between code and picture."""
    noise_units: Annotated[int | None, behind_setting("noise_units")] = None
    """Size of the generator's noise beside the code."""
    discriminator_learning_rate: Annotated[float | None, behind_setting("discriminator_learning_rate")] = None
    """Learning rate of the discriminator."""
    discriminator_batch: Annotated[str | None, behind_setting("discriminator_batch")] = None
    """Where the permuted codes come from: second (a batch of its own) or split (half a batch)."""
    feature_weight: Annotated[float | None, behind_setting("feature_weight")] = None
    """Weight of the error of the predicted features, relative to a loss of the size of the squared error of pixels."""
    feature_network: Annotated[str | None, behind_setting("feature_network")] = None
    """Whose features are predicted: vgg16 or dae, as in perceptual_features; perceptual_weights_path and dae_steps hold
    for them too."""
    feature_layer: Annotated[str | None, behind_setting("feature_layer")] = None
    """Layer of vgg16 that is predicted: relu1_2, relu2_2, relu3_3 or relu4_3."""
    feature_grid: Annotated[int | None, behind_setting("feature_grid")] = None
    """Height and width that the features of vgg16 are averaged down to before they are predicted."""
    presence_weight: Annotated[float | None, behind_setting("presence_weight")] = None
    """Price of a keypoint's presence, in percent of what drawing the background alone loses in pixels."""
    presence_warmup: Annotated[int | None, behind_setting("presence_warmup")] = None
    """Steps over which that price grows linearly from 0."""
    units_per_image: Annotated[int | None, behind_setting("units_per_image")] = None
    """Units of the code that are not 0 in an image: at most, or on average where the objective says so."""
    units_per_image_steps: Annotated[int | None, behind_setting("units_per_image_steps")] = None
    """Steps over which that number goes linearly down from code_size, so that no unit is left out for good."""
    nonzero_weight: Annotated[float | None, behind_setting("nonzero_weight")] = None
    """Price of a unit that is not 0, in nats per image."""
    nonzero_warmup: Annotated[int | None, behind_setting("nonzero_warmup")] = None
    """Steps over which that price grows linearly from 0."""
    threshold_window: Annotated[float | None, behind_setting("threshold_window")] = None
    """Width of the window around a threshold in which activations move it, as a share of the threshold."""
    matching_weight: Annotated[float | None, behind_setting("matching_weight")] = None
    """Weight of the distance of the codes from a rectified Gaussian."""
    quantise_weight: Annotated[float | None, behind_setting("quantise_weight")] = None
    """Weight of the mean squared distance of a unit's values from what is rounded to them, beside a pixel's error."""
    commit_weight: Annotated[float | None, behind_setting("commit_weight")] = None
    """Weight of the mean squared distance of what is rounded from those values."""
    weight_decay: Annotated[float | None, behind_setting("weight_decay")] = None
    """Decay of the weights of both networks (AdamW), not of biases and of the values."""
    objective_settings: str | None = None
    """Settings of an objective that has more than the options here, such as one of your own: name=value, separated by
    commas."""
    learning_rate: float = 5e-4
    """Learning rate of Adam."""
    learning_rate_warmup: int = LearningRate.warmup
    """Steps over which the learning rate grows linearly to its full value. Neither this nor the decay acts on a
    discriminator."""
    learning_rate_decay: str = LearningRate.decay
    """What follows the warm-up: constant, or cosine (half a cosine down to final_learning_rate)."""
    learning_rate_decay_steps: int | None = LearningRate.decay_steps
    """Step at which the cosine ends; the last step unless set."""
    final_learning_rate: float = LearningRate.final
    """Where the cosine ends."""
    initialisation: str = "default"
    """Initial weights: default (torch's), output_bias (the last layer starts at the mean pixel) or he (that, and
    weights that keep the size of the pictures' signal through every layer; He et al. 2015)."""
    weight_averaging: float = 0.0
    """Decay of the exponential moving average of the weights, such as 0.999; the average is exported. 0: none."""
    denoising_noise: float = Denoising.noise
    """Denoising: standard deviation of noise on the pixels (0..1) that the encoder sees; what is compared is the clean
    image. 0.1 and the next two at 0.3 and 0.5 are a start."""
    denoising_color: float = Denoising.color
    """Denoising: standard deviation of random changes of each channel's brightness."""
    denoising_background: float = Denoising.background
    """Denoising: probability that an image's background, what is near the median training image, becomes random
    blobs."""
    random_shift: int = 0
    """Pixels by which an image is moved at most, across and down, another way each time; the moved one is encoded and
    compared, and what moves in repeats the edge (DrQ, Kostrikov et al. 2021). 0: never."""
    device: str = "auto"
    """auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto (bf16 autocast where the hardware multiplies it natively), float32 or bf16. In training on a GPU, float32
    convolutions are rounded to TF32 unless torch's flags say otherwise. With resume auto is that of the run that is
    there."""
    data_on_device: str = "auto"
    """Where the data set is: auto (on a GPU as it is stored, bits or bytes, where it is held in memory or a mapped file
    and takes at most half of the free memory), always (on any device) or never (each batch is copied)."""
    step_graph: str = "auto"
    """How a step is launched: cuda_graph (recorded once, replayed as one launch, unless its recording does not prove to
    be the step), compile (torch.compile), none (kernel by kernel) or auto (cuda_graph on a GPU, except with a
    perceptual loss; none elsewhere)."""
    threads: int | None = None
    """CPU threads; by default torch's choice, one per core, and with resume those of the run that is there."""
    log_every: int = 100
    """Steps between scalars."""
    picture_every: int = 5_000
    """Steps between pictures of reconstructions and traversals."""
    save_every: int = 1_000
    """Steps between saves of the training state."""
    health_check: int = 500
    """Steps until a first look at whether the decoder uses the code, with a warning if not; further looks come after
    twice, four times, eight times as many. 0 for none."""
    logger: str = DEFAULT_LOGGER
    """Where scalars and pictures go: tensorboard, wandb, mlflow or trackio (extras of these names)."""
    resume: bool = False
    """Continue the run found in run_dir, or start it where nothing was saved yet. The other settings must be the same;
    steps may be more unless a schedule ends with them, as a cosine and shares of the run do, and after a loss that was
    not finite, learning rates and precision may be others."""
    progress: bool = True
    """Show progress bars."""

    def __post_init__(self) -> None:
        take_plain_numbers(self)
        for name in ("steps", "log_every", "picture_every", "save_every"):
            require_whole(name, getattr(self, name))
        for name, most in (("batch_size", _MOST_IMAGES), ("code_size", _MOST_UNITS)):
            require_whole(name, getattr(self, name), most=most)
        require_whole("health_check", self.health_check, least=0)
        require_threads(self.threads)
        require_whole("seed", self.seed, least=0, most=MOST_TORCH_SEED)
        require_types(self, whole=False)
        lookup(dict.fromkeys(DATA_PLACES), self.data_on_device, "data_on_device")
        lookup(dict.fromkeys(STEP_GRAPHS), self.step_graph, "step_graph")
        lookup(DATASETS, self.dataset, "data set", own=True)
        lookup(LOGGERS, self.logger, "logger")
        if self.factor_sizes is not None:
            parse_factor_sizes(self.factor_sizes)
        if self.crop is not None:
            parse_crop(self.crop)
        choose_architecture(self.architecture)
        build_reconstruction(self.pixel_reconstruction())
        require_initialisation(self.initialisation, decodes=choose_objective(self.objective).decodes)
        require_decay(self.weight_averaging)
        self._check_denoising()
        self.learning_rates()
        self.batch_sizes()
        check_weight("saliency_weight", self.saliency_weight)
        self._check_what_has_no_part()
        is_likelihood = self.perceptual().is_likelihood and not self.saliency_weight
        self.objective_weights()
        self.objective_options()
        self._check_opening()
        self._fit_network()
        require_whole("random_shift", self.random_shift, least=0, most=self.image_size - 1)
        require_code_size(self.objective, self.code_size, self.objective_options())
        self.feature_targets()
        for name in ("batch_size", "first_batch_size"):
            require_batch(self.objective, name, getattr(self, name))
        require_reconstruction(self.objective, is_likelihood=is_likelihood)
        # paths are kept as text so that config.json and --help stay plain
        for name in ("data_path", "run_dir", "perceptual_weights_path"):
            value = getattr(self, name)
            require_name(name, value)
            if value is not None:
                object.__setattr__(self, name, str(value))

    def _fit_network(self) -> None:
        """Check sizes against the network, and set code_size where keypoints decide it."""
        network = ARCHITECTURES[self.network_name()]
        if self.image_size not in network.sizes:
            raise ValueError(f"image_size needs {' or '.join(map(str, network.sizes))}, got {self.image_size!r}")
        if network.head != "keypoints":
            if self.keypoints is not None:
                raise ValueError(
                    "keypoints needs architecture keypoints, keypoints_fine or keypoints_looks, got "
                    f"{self.network_name()!r}: set objective (--objective) sparse_keypoints and leave architecture "
                    "(--architecture) out"
                )
            return
        if self.initialisation != "default":
            raise ValueError(
                f"architecture {self.network_name()!r} has initial weights of its own, got initialisation "
                f"{self.initialisation!r}: leave it out"
            )
        count = _KEYPOINTS if self.keypoints is None else self.keypoints
        require_whole("keypoints", count, most=_MOST_UNITS)
        object.__setattr__(self, "keypoints", count)
        object.__setattr__(self, "code_size", network.units_each * count)

    def denoising(self) -> Denoising:
        """How images are corrupted before the encoder sees them."""
        return Denoising(self.denoising_noise, self.denoising_color, self.denoising_background)

    def _check_opening(self) -> None:
        if self.objective_options().get("opening_step"):
            return
        for name, does in (
            ("opening_ica", "turns units at"),
            ("opening_recycle", "gives dead neurons new weights at"),
            ("opening_warmup", "warms the learning rate up behind"),
        ):
            if getattr(self, name):
                raise ValueError(
                    f"{name} {does} opening_step, and there is none: set opening_step and opening_steps too "
                    f"(--opening-step, --opening-steps), with an objective that takes them, or leave {name} out"
                )

    def _check_what_has_no_part(self) -> None:
        """Refuse settings beside which there is nothing that they could change."""
        choice = choose_objective(self.objective)
        if not choice.reconstructs and self.reconstruction not in ("auto", choice.reconstruction):
            raise ValueError(
                f"objective {self.objective!r} compares no reconstruction, got reconstruction {self.reconstruction!r}: "
                "leave it out"
            )
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        if not self.perceptual_weight:
            for name in ("perceptual_features", "perceptual_layers"):
                if getattr(self, name) != fields[name]:
                    raise ValueError(
                        f"{name} {getattr(self, name)!r} needs a positive perceptual_weight, got 0: there is no "
                        "perceptual loss (--perceptual-weight, or a preset DATASET/perceptual)"
                    )
        elif self.perceptual_features == "dae" and self.perceptual_weights_path is not None:
            raise ValueError(
                f"perceptual_weights_path {self.perceptual_weights_path!r} is of perceptual_features 'vgg16', got "
                "'dae', which is trained on the data: leave it out"
            )
        if self.saliency_weight and not (self.pixel_weight or self.pixel_steps):
            raise ValueError(
                "saliency_weight weighs pixels, and pixel_weight is 0: give pixel_weight, or leave saliency_weight out"
            )
        if self.saliency_weight and self.random_shift:
            raise ValueError(
                "saliency_weight weighs pixels by how far they are from the median image, which random_shift does not "
                "move: leave one of them out"
            )
        if choice.learns_variance and not self.perceptual_weight:
            if self.pixel_reconstruction() != "gaussian":
                raise ValueError(
                    f"objective {self.objective!r} learns the variance of a squared error, got reconstruction "
                    f"{self.reconstruction!r}: leave it out, or give gaussian (--reconstruction gaussian)"
                )
            if self.pixel_weight != 1:
                raise ValueError(
                    f"objective {self.objective!r} learns the variance of its error, so that pixel_weight "
                    f"{self.pixel_weight:g} would change nothing: leave it at 1, or give a perceptual_weight beside it"
                )
        if (
            choice.learns_variance
            and self.perceptual_weight not in (0, 1)
            and not (self.pixel_weight or self.pixel_steps)
        ):
            raise ValueError(
                f"objective {self.objective!r} learns the variance of its error, so that perceptual_weight "
                f"{self.perceptual_weight:g} would change nothing: leave it at 1, or give a pixel_weight beside it"
            )
        if self.objective_weights().get("presence_weight") and not self.pixel_weight:
            raise ValueError(
                "presence_weight is a share of what the background loses in pixels, and pixel_weight is 0: give "
                "pixel_weight, or presence_weight 0"
            )
        if self.weight_averaging and self.objective_options().get("sparsity_proximal"):
            raise ValueError(
                "sparsity_proximal makes weights exactly 0, and an average over steps has none that are: leave "
                "weight_averaging at 0, or sparsity_proximal out"
            )

    def _check_denoising(self) -> None:
        if self.denoising() and choose_objective(self.objective).discriminates:
            raise ValueError(
                f"denoising needs an objective without a discriminator, got {self.objective!r}: leave denoising_noise, "
                "denoising_color and denoising_background at 0"
            )

    def objective_weights(self) -> dict[str, float]:
        """The weights of the objective's terms, defaults filled in.

        Raises:
            ValueError: unknown objective, or a weight that the objective does not take.
        """
        return resolve_weights(self.objective, self._given(weight_names()))

    def objective_options(self) -> dict[str, Option]:
        """The further settings of the objective, defaults filled in.

        Raises:
            ValueError: unknown objective, a setting that it does not take, or a value it cannot use.
        """
        given = self._given(option_names())
        if "sparsity_start" in choose_objective(self.objective).options and given["sparsity_start"] is None:
            given["sparsity_start"] = self.perceptual().complete_from
        return resolve_options(self.objective, given)

    def _given(self, names: list[str]) -> dict[str, Any]:
        """What is set of `names`: those that are fields, and those in `objective_settings`."""
        fields = {field.name for field in dataclasses.fields(self)}
        text = self.objective_settings
        others = {} if text is None else read_settings(self.objective, text)
        for name in others.keys() & fields:
            raise ValueError(f"objective_settings is for what has no option of its own, got {name}: give {name} itself")
        return {name: getattr(self, name) if name in fields else others.get(name) for name in names}

    def never_reached(self) -> list[str]:
        """What the schedules put off beyond the last step, in words, as those of a preset with fewer steps do."""
        options: dict[str, Any] = self.objective_options()
        weights, perceptual = self.objective_weights(), self.perceptual()
        found = []
        if (options.get("opening_step") or 0) >= self.steps:
            found.append(f"closed units are opened at step {options['opening_step']:,} (opening_step)")
        if weights.get("sparsity_weight") and (options.get("sparsity_start") or 0) >= self.steps:
            found.append(f"the L1 penalty counts from step {options['sparsity_start']:,} (sparsity_start)")
        late = [level for level in perceptual.joining() if level.start >= self.steps]
        if late and perceptual.weight:
            which = "features are" if len(late) == len(perceptual.joining()) else "features at all resolutions are"
            found.append(f"{which} compared from step {perceptual.complete_from:,} (perceptual_levels)")
        if (options.get("units_per_image_steps") or 0) > self.steps:
            found.append(
                f"as few units as encode images are trained from step {options['units_per_image_steps']:,} "
                "(units_per_image_steps)"
            )
        ramps = (f"{what} from step {end:,} ({name})" for name, end, what in self._ramps() if end > self.steps)
        return [*found, *ramps]

    def _ramps(self) -> Iterator[tuple[str, int, str]]:
        """Setting, step at which what it stretches is whole, and what that is."""
        options: dict[str, Any] = {**self.objective_options(), **self.objective_weights()}
        start = options.get("sparsity_start") or 0
        for name, weight, begun, what in (
            ("beta_steps", "beta", 0, "the KL term has its weight"),
            ("sparsity_warmup", "sparsity_weight", start, "the L1 penalty has its weight"),
            ("capacity_steps", "capacity_nats", 0, "the code has its whole capacity"),
            ("presence_warmup", "presence_weight", 0, "presences have their price"),
            ("nonzero_warmup", "nonzero_weight", 0, "units that are not 0 have their price"),
        ):
            # the KL term of a plain VAE has a schedule and no weight of its own
            if options.get(weight, weight == "beta" and name in options) and begun < self.steps:
                yield name, begun + (options.get(name) or 0), what
        yield "learning_rate_warmup", self.learning_rate_warmup, "the learning rate is whole"
        yield "batch_growth_steps", self.batch_sizes().whole_from, "batches have batch_size images"
        if self.perceptual_weight:
            yield "pixel_steps", self.perceptual().features_from + self.pixel_steps, "pixels count with pixel_weight"
        opened = options.get("opening_step") or 0
        if opened and opened < self.steps:
            yield "opening_steps", opened + (options.get("opening_steps") or 0), "the KL term has its weight again"

    def pixel_reconstruction(self) -> str:
        """The reconstruction loss of the pixels by its name: that of the objective where it is ``auto``.

        >>> PretrainConfig(objective="vaease").pixel_reconstruction()
        'gaussian'
        """
        return choose_objective(self.objective).reconstruction if self.reconstruction == "auto" else self.reconstruction

    def network_name(self) -> str:
        """The entry of `ARCHITECTURES` that is trained: `architecture`, with the head that the objective needs.

        Raises:
            ValueError: the objective cannot train that architecture.
        """
        return network_for(self.objective, self.architecture)

    def batch_sizes(self) -> BatchSizes:
        """The number of images of every step."""
        return BatchSizes(self.batch_size, self.first_batch_size, self.batch_growth_steps)

    def learning_rates(self) -> LearningRate:
        """The learning rate of every step."""
        decay, decay_steps = self.learning_rate_decay, self.learning_rate_decay_steps
        if decay == "cosine":
            decay_steps = self.steps if decay_steps is None else decay_steps
        return LearningRate(
            self.learning_rate,
            self.learning_rate_warmup,
            decay,
            decay_steps,
            self.final_learning_rate,
            restart=int(self.objective_options().get("opening_step") or 0),
            restart_warmup=self.opening_warmup,
        )

    def perceptual(self) -> PerceptualSettings:
        """How reconstructions are compared with their images."""
        return PerceptualSettings(
            image_size=self.image_size,
            batch_size=self.batch_size,
            steps=self.steps,
            weight=self.perceptual_weight,
            pixel_weight=self.pixel_weight,
            pixel_start=self.pixel_start,
            pixel_steps=self.pixel_steps,
            features=self.perceptual_features,
            layers=self.perceptual_layers,
            weights_path=self.perceptual_weights_path,
            style_weight=self.style_weight,
            resolution=self.perceptual_resolution,
            levels=self.perceptual_levels,
            scale=self.perceptual_scale,
            roughness_weight=self.roughness_weight,
            every=self.perceptual_every,
            images=self.perceptual_images,
            dae_steps=self.dae_steps,
        )

    def feature_targets(self) -> FeatureTargetSettings | None:
        """What the objective predicts from the code; None where it predicts no features.

        Raises:
            ValueError: a setting that cannot be used.
        """
        if "targets" not in choose_objective(self.objective).needs:
            return None
        options: dict[str, Any] = self.objective_options()
        if options["feature_network"] == "dae":
            for name in ("feature_layer", "feature_grid"):
                if self._given([name])[name] not in (None, resolve_options(self.objective, {})[name]):
                    raise ValueError(
                        f"{name} is of feature_network 'vgg16': a denoising autoencoder has no layers to choose from "
                        "and no grid; leave it out"
                    )
        return FeatureTargetSettings(
            image_size=self.image_size,
            network=options["feature_network"],
            layer=options["feature_layer"],
            grid=options["feature_grid"],
            weights_path=self.perceptual_weights_path,
        )

    def _why_not_one_launch(self) -> str | None:
        """Why a step is not recorded or compiled as a whole; None where it can be."""
        if self.feature_targets() is not None:
            return "features that are predicted take long enough to hide the launches"
        return self.perceptual().why_not_one_launch()

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
        fields = {field.name for field in dataclasses.fields(self)}
        settings: dict[str, Any] = {**self.objective_weights(), **self.objective_options()}
        others = ",".join(f"{name}={settings.pop(name)}" for name in list(settings) if name not in fields)
        return dataclasses.replace(
            self,
            run_dir=str(self.run_folder()),
            # the whole path of what is there, so that the run can be evaluated from anywhere
            data_path=str(Path(self.data_path).expanduser().resolve())
            if self.data_path is not None and Path(self.data_path).expanduser().exists()
            else self.data_path,
            device=str(device),
            precision=resolve_precision(self.precision, device),
            step_graph=resolve_step_graph(self.step_graph, device, self._why_not_one_launch()),
            threads=self.threads or torch.get_num_threads(),
            architecture=self.network_name(),
            reconstruction=self.pixel_reconstruction(),
            perceptual_levels=in_words(self.perceptual().joining()) or None,
            learning_rate_decay_steps=self.learning_rates().decay_steps,
            objective_settings=others or None,
            **settings,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values of what decides the result; how a call behaves (resume, progress, where) is left out."""
        values = dataclasses.asdict(self)
        for name in ("resume", "progress", "run_dir", "data_on_device", "health_check", "logger"):
            del values[name]
        if self.objective_settings is None:
            del values["objective_settings"]  # the objectives of this package have none
        for name in ADDED:
            if values[name] is None:
                del values[name]
        return values
