"""What the study of agents compares: arms and encoders."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from experiments.measure.kinds import KIND_TITLES, KINDS
from sparse_repr.objectives.choices import default_settings
from sparse_repr.pretrain.presets import CORRUPTED, KEYPOINT_RECIPES, ROBUST

Observation = Literal["nothing", "factors", "pixels", "code"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """What an agent observes, and whether what makes it is trained with the agent."""

    title: str
    """What tables and figures call it."""
    observes: Observation
    """nothing acts at random and does not learn."""
    encoder: str | None = None
    """Key of `ENCODERS`."""
    fine_tuned: bool = False
    """Whether the encoder is trained with the policy, from the pretrained weights."""
    recode: str | None = None
    """What is shown in place of each code: key of `rl.recodings.RECODINGS`, `DICTIONARY`."""
    times: int | None = None
    """How many times as wide as the code the expansion is; None: as it is by default, 20."""
    share: float | None = None
    """Which share of the expansion is 1, one unit at least; None: as it is by default, a tenth."""
    bandwidth: float | None = None
    """Of random Fourier features; None: as it is by default, 0.3."""
    rate: float | None = None
    """Learning rate of the agent, times the scale's or else the algorithm's default; None: that itself."""
    cropped: bool = False
    """Whether an agent on pixels sees the part that its task names, `Task.crop`, as large as the whole."""

    @property
    def frozen(self) -> bool:
        """Whether it observes what an encoder makes that stays as it is."""
        return self.observes == "code" and not self.fine_tuned

    @property
    def plain(self) -> bool:
        """Whether it observes the codes of such an encoder themselves; one arm of each encoder does."""
        return self.frozen and self.recode is None and not self.dosed

    @property
    def sees_part(self) -> bool:
        """Whether it, or its encoder, sees the part of the frames that some tasks name."""
        return self.cropped or self.encoder in CROPPED

    @property
    def dosed(self) -> bool:
        """Whether it is there for another setting than the default alone, of the recoding or of learning."""
        return (self.times, self.share, self.bandwidth, self.rate) != (None,) * 4


UNTRAINED = "untrained"
"""The encoder with the weights it starts from."""
FOREIGN = ("vgg16_features", "random_vit")
"""Keys of `experiments.measure.foreign_networks.FOREIGN`: networks of others, which nothing is trained for."""
LEARNED_NOTHING = (UNTRAINED, "random_vit")
"""Encoders with random weights: what the others are to be better than."""
TIMES = (2, 5, 10, 50)
"""Widths of the expansion, in sizes of the code, that stand beside the default of 20 in its curve."""
SHARES = (0.0, 0.02, 0.05, 0.3, 0.5)
"""Shares of the expansion that are 1 and stand beside the default of 0.1 in its curve; 0 is one unit alone."""
RATES = (0.3, 3.0, 10.0)
"""Learning rates of agents, times the default: what a wide input may do for Adam."""
RATED = ("vae", "factors", "pixels", "vae_expand", "sparse_keypoints", "sparse_keypoints_cropped")
"""Arms whose agents learn at these rates too, by the name `rated`."""
PRICES = {"3": 3.0, "10": 10.0, "30": 30.0}
"""Prices of a presence of keypoints, times the default: what stands behind the name of the encoder -> how many."""
_PRICE = float(default_settings("sparse_keypoints")["presence_weight"] or 0)
ENCODERS: dict[str, dict[str, Any]] = {
    # without its KL term a VAE has nothing that keeps its noise up: an autoencoder
    "autoencoder": {"objective": "beta_vae", "beta": 0.0},
    "vae": {"objective": "vae"},
    "beta_vae": {"objective": "beta_vae", "beta": 4.0},
    "sparse": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 1.0},
    "sparse_4": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 4.0},
    "sparse_16": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 16.0},
    # in place of the pixels, as the paper has it, the perceptual loss leaves no active unit in runs as short as these
    "sparse_perceptual": {
        "objective": "sparse",
        "beta": 1.0,
        "sparsity_weight": 1.0,
        "pixel_weight": 1.0,
        "perceptual_weight": 1.0,
        "perceptual_features": "vgg16",
        "perceptual_layers": "relu1_2,relu2_2,relu3_3",
    },
    "feature_prediction": {"objective": "feature_prediction"},
    **KEYPOINT_RECIPES,
    **{
        f"sparse_keypoints_{name}": {**KEYPOINT_RECIPES["sparse_keypoints"], "presence_weight": times * _PRICE}
        for name, times in PRICES.items()
    },
    "few_sparse_keypoints": {**KEYPOINT_RECIPES["sparse_keypoints"], "keypoints": 12},
    "sparse_keypoints_cropped": KEYPOINT_RECIPES["sparse_keypoints"],
    # what is published is of the first default of the price
    "sparse_keypoints_denoised": {**KEYPOINT_RECIPES["sparse_keypoints_denoised"], "presence_weight": 10 * _PRICE},
    "vae_denoised": {"objective": "vae", **CORRUPTED},
    "vae_robust": {"objective": "vae", **ROBUST},
    "vae_two_rounds": {"objective": "vae"},
    "sparse_keypoints_two_rounds": KEYPOINT_RECIPES["sparse_keypoints"],
    **KINDS,
}
"""Name -> settings of `PretrainConfig`: the recipes of dSprites but for the pixels beside the perceptual loss.

`_denoised` ones see noise, other colours and other backgrounds, and redraw the clean frame: how strong was not tuned.
`_robust` ones see frames that are moved, too.

Those of keypoints are whole: batch, steps, learning rate and size of the code are theirs, and no scale's.

`sparse_4` and `sparse_16` are the dose: the same L1 penalty, four and sixteen times as strong; `sparse_keypoints_3`,
`_10` and `_30` that of the price on presences. `few_sparse_keypoints` are 12, 36 numbers, about as many as the
other codes of SpriteChase and SpritePose have.

`_cropped` ones see a part of each frame, `Task.crop`.

`_two_rounds` ones learn from the frames of agents, `SECOND_ROUND`.

Those of `KINDS` differ in what makes their codes sparse.

`UNTRAINED` and `FOREIGN` are none of them.
"""
SECOND_ROUND = {"vae_two_rounds": "vae", "sparse_keypoints_two_rounds": "sparse_keypoints"}
"""Encoder -> arm whose finished agent, of the same task and seed, records what it learns from, beside a random policy;
that agent learned by PPO."""

CROPPED = ("sparse_keypoints_cropped",)
"""Encoders that see the part of the frames that a task names, so that tasks without such a part have none of them."""

DICTIONARY = "dictionary"
"""The recoding that is fitted to the codes of an encoder's own frames, by `rl.dictionary` with its default settings."""
_AT_THE_DEFAULT_RATE = {
    "random_policy": Arm("random policy", "nothing"),
    "factors": Arm("ground-truth factors", "factors"),
    "pixels": Arm("pixels, end to end", "pixels"),
    "pixels_cropped": Arm("pixels, cropped", "pixels", cropped=True),
    "untrained": Arm("untrained encoder", "code", UNTRAINED),
    "autoencoder": Arm("autoencoder", "code", "autoencoder"),
    "vae": Arm("VAE", "code", "vae"),
    "beta_vae": Arm("β-VAE", "code", "beta_vae"),
    "sparse": Arm("sparse", "code", "sparse"),
    "sparse_4": Arm("sparse, weight 4", "code", "sparse_4"),
    "sparse_16": Arm("sparse, weight 16", "code", "sparse_16"),
    "sparse_perceptual": Arm("sparse + perceptual", "code", "sparse_perceptual"),
    "feature_prediction": Arm("feature prediction", "code", "feature_prediction"),
    "vgg16_features": Arm("VGG16 features", "code", "vgg16_features"),
    "random_vit": Arm("random ViT", "code", "random_vit"),
    "keypoints": Arm("keypoints", "code", "keypoints"),
    "sparse_keypoints": Arm("sparse keypoints", "code", "sparse_keypoints"),
    "sparse_keypoints_looks": Arm("sparse keypoints with looks", "code", "sparse_keypoints_looks"),
    "few_sparse_keypoints": Arm("12 sparse keypoints", "code", "few_sparse_keypoints"),
    "sparse_keypoints_cropped": Arm("sparse keypoints, cropped", "code", "sparse_keypoints_cropped"),
    "untrained_expand": Arm("untrained encoder, expand", "code", UNTRAINED, recode="expand"),
    "autoencoder_expand": Arm("autoencoder, expand", "code", "autoencoder", recode="expand"),
    "vae_expand": Arm("VAE, expand", "code", "vae", recode="expand"),
    "vae_cosine": Arm("VAE, cosine", "code", "vae", recode="cosine"),
    # 1 after agents at the default had learned nothing on SpriteChase: by how alike frames stay in the code of one
    # encoder (seed 15), not by any return
    "vae_cosine_wide": Arm("VAE, cosine, bandwidth 1", "code", "vae", recode="cosine", bandwidth=1.0),
    "vae_project": Arm("VAE, project", "code", "vae", recode="project"),
    "vae_simplicial": Arm("VAE, simplicial", "code", "vae", recode="simplicial"),
    "vae_tiles": Arm("VAE, tiles", "code", "vae", recode="tiles"),
    "vae_one_hot": Arm("VAE, one-hot", "code", "vae", recode="one_hot"),
    "vae_dictionary": Arm("VAE, dictionary", "code", "vae", recode=DICTIONARY),
    "beta_vae_expand": Arm("β-VAE, expand", "code", "beta_vae", recode="expand"),
    "sparse_expand": Arm("sparse, expand", "code", "sparse", recode="expand"),
    "keypoints_expand": Arm("keypoints, expand", "code", "keypoints", recode="expand"),
    "sparse_keypoints_expand": Arm("sparse keypoints, expand", "code", "sparse_keypoints", recode="expand"),
    "vae_denoised": Arm("VAE, denoised", "code", "vae_denoised"),
    "vae_denoised_expand": Arm("VAE, denoised, expand", "code", "vae_denoised", recode="expand"),
    "sparse_keypoints_denoised": Arm("sparse keypoints, price times 10, denoised", "code", "sparse_keypoints_denoised"),
    "vae_robust": Arm("VAE, robust", "code", "vae_robust"),
    "vae_robust_expand": Arm("VAE, robust, expand", "code", "vae_robust", recode="expand"),
    "sparse_keypoints_robust": Arm("sparse keypoints, robust", "code", "sparse_keypoints_robust"),
    **{name: Arm(title, "code", name) for name, title in KIND_TITLES.items()},
    **{f"{name}_expand": Arm(f"{title}, expand", "code", name, recode="expand") for name, title in KIND_TITLES.items()},
    **{
        f"vae_expand_{times}d": Arm(f"VAE, expand to {times} D", "code", "vae", recode="expand", times=times)
        for times in TIMES
    },
    **{
        f"vae_expand_{100 * share:.0f}pc": Arm(
            f"VAE, expand, {share:.0%} on" if share else "VAE, expand, one on",
            "code",
            "vae",
            recode="expand",
            share=share,
        )
        for share in SHARES
    },
    **{
        f"sparse_keypoints_{name}": Arm(f"sparse keypoints, price times {times:g}", "code", f"sparse_keypoints_{name}")
        for name, times in PRICES.items()
    },
    "vae_two_rounds": Arm("VAE, two rounds", "code", "vae_two_rounds"),
    "sparse_keypoints_two_rounds": Arm("sparse keypoints, two rounds", "code", "sparse_keypoints_two_rounds"),
    "autoencoder_tuned": Arm("autoencoder, fine-tuned", "code", "autoencoder", fine_tuned=True),
    "vae_tuned": Arm("VAE, fine-tuned", "code", "vae", fine_tuned=True),
    "beta_vae_tuned": Arm("β-VAE, fine-tuned", "code", "beta_vae", fine_tuned=True),
    "sparse_tuned": Arm("sparse, fine-tuned", "code", "sparse", fine_tuned=True),
    "sparse_perceptual_tuned": Arm("sparse + perceptual, fine-tuned", "code", "sparse_perceptual", fine_tuned=True),
}


def rated(arm: str, rate: float) -> str:
    """The name of an arm whose agents learn at another rate, times the default."""
    return f"{arm}_rate_{rate:g}".replace(".", "")


ARMS = _AT_THE_DEFAULT_RATE | {
    rated(name, rate): dataclasses.replace(
        _AT_THE_DEFAULT_RATE[name],
        title=f"{_AT_THE_DEFAULT_RATE[name].title}, learning rate times {rate:g}",
        rate=rate,
    )
    for name in RATED
    for rate in RATES
}
"""Name -> arm, in the order of the tables."""
