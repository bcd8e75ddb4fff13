"""Turning open units towards independence: a linear ICA of the code, folded into the layers on both sides of it.

Two units hold a place in the plane equally well in any direction: the prior is round, and a diagonal unit, being the
sum of two coordinates, is even nearer to the normal distribution that the KL asks for. So it is up to the seed whether
the units are the axes. Coordinates that vary independently are found by independent component analysis, which needs
no label, and both layers next to the code are linear: turned there, the network draws the same pictures. Not from a
paper of VAEs; the analysis is RADICAL (Learned-Miller and Fisher, JMLR 2003), which looks at every angle. FastICA was
tried on one network: it stayed at the diagonal, a local optimum there.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.pretrain.code_layers import first_layer, posterior_layer, posterior_means

CLEAR_VARIANCE = 0.25
"""Variance of the posterior mean from which a unit is turned; one that says little is left as it is."""
MOST_TURNED = 16
"""Units that are turned at most, those that vary most: each pair costs a second."""
_SMOOTHING = 0.175
_COPIES = 4
_COARSE_DEGREES = 6
_SWEEPS = 10
# units that say all but the same are told apart by rounding
_LEAST = 1e-6


@torch.no_grad()
def make_units_independent(vae: VAE, images: Tensor, *, seed: int) -> list[int]:
    """Turn the units that say much into independent components of what they say, in place.

    With m the means of those units (n, k), s = W (m - mean) are the independent components, scaled to the units' mean
    variance. The encoder's last layer gives s, the decoder's first one takes inverse(W) s, so that
    decoding the mean gives the same picture. The log-variances become those of W's weighted mean of the units'
    variances: what the noise of two units has in common after turning is left out, which is what a diagonal posterior
    cannot say. Where a head shrinks the means, those before it are turned, and pictures change.

    Args:
        vae: of networks with a layer of features and one of the posterior, such as `burgess`.
        images: (n, C, S, S) in 0..1.
        seed: of the noise that smooths the means, so that factors of few values have an entropy.

    Returns:
        The units that were turned; none where fewer than two say much.

    Raises:
        ValueError: a network of another kind.
    """
    heads, listeners = posterior_layer(vae), first_layer(vae)
    means = posterior_means(vae, images)[1]  # (n, D)
    variances = means.var(0, correction=0)
    clear = int((variances > CLEAR_VARIANCE).sum())
    units = sorted(variances.argsort(descending=True)[: min(clear, MOST_TURNED)].tolist())
    if len(units) < 2:
        return []
    said = means[:, units]
    centre = said.mean(0)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((_COPIES, *said.shape), generator=generator, dtype=torch.float64) * _SMOOTHING
    turn = _unmixing(said - centre, noise * said.std(0, correction=0)) * said.var(0, correction=0).mean().sqrt()

    rows = [vae.code_size + unit for unit in units]
    weight, bias = (values.detach().cpu().double() for values in (heads.weight, heads.bias))
    shares = turn.square() / turn.square().sum(1, keepdim=True)
    heads.weight[units] = (turn @ weight[units]).to(heads.weight)
    heads.bias[units] = (turn @ (bias[units] - centre)).to(heads.bias)
    heads.weight[rows] = (shares @ weight[rows]).to(heads.weight)
    heads.bias[rows] = (shares @ bias[rows] + turn.square().sum(1).log()).to(heads.bias)

    heard = listeners.weight[:, units].cpu().double()
    listeners.bias.add_((heard @ centre).to(listeners.bias))
    listeners.weight[:, units] = (heard @ torch.linalg.inv(turn)).to(listeners.weight)
    return units


def _unmixing(centred: Tensor, noise: Tensor) -> Tensor:
    """W (k, k), by which `centred` (n, k) becomes independent components of variance 1, turned as little as need be.

    Whitened by the symmetric root, then pair by pair by the angle of the least sum of entropies, until no pair moves.
    """
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    white = axes @ (axes / variances.clamp_min(_LEAST * variances.max()).sqrt()).T
    smooth = torch.cat([centred + part for part in noise]) @ white
    turn = torch.eye(len(white), dtype=torch.float64)
    for _ in range(_SWEEPS):
        moved = False
        for pair in itertools.combinations(range(len(white)), 2):
            rotation = _rotation_of_least_entropy(smooth[:, pair])
            moved = moved or not torch.equal(rotation, torch.eye(2, dtype=torch.float64))
            smooth[:, pair] = smooth[:, pair] @ rotation.T
            turn[list(pair)] = rotation @ turn[list(pair)]
        if not moved:
            break
    return turn @ white


def _rotation_of_least_entropy(points: Tensor) -> Tensor:
    """Rotation (2, 2) between -45 and 45 degrees after which the entropies of both columns of (n, 2) sum to the least.

    Angles all around are looked at first: half way between two directions there is often a second, shallower dip.
    """
    around = torch.arange(-45, 45, _COARSE_DEGREES)
    best = around[_entropies_turned(points, around).argmin()]
    near = best + torch.arange(1 - _COARSE_DEGREES, _COARSE_DEGREES)
    # the smaller one of two that are as good
    near = near[near.abs().argsort(stable=True)]
    return _rotations(near[_entropies_turned(points, near).argmin()])


def _entropies_turned(points: Tensor, degrees: Tensor) -> Tensor:
    """Sums of the entropies of both columns of (n, 2) after every turn (angles,)."""
    return torch.stack([_entropy(points @ rotation.T).sum() for rotation in _rotations(degrees)])


def _rotations(degrees: Tensor) -> Tensor:
    """Angles (...) -> (..., 2, 2)."""
    angle = degrees.double().deg2rad()
    return torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))


def _entropy(values: Tensor) -> Tensor:
    """Vasicek's estimate by m-spacings, in nats, of every column of (n, k), with m the root of n as RADICAL has it."""
    count = len(values)
    apart = round(count**0.5)
    ordered = values.sort(0).values
    spaces = (ordered[apart:] - ordered[:-apart]).clamp_min(torch.finfo(values.dtype).tiny)
    return ((count + 1) / apart * spaces).log().mean(0)
