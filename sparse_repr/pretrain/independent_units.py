"""Turning open units towards independence: a linear ICA of the code, folded into the layers on both sides of it.

Two units hold a place in the plane equally well in any direction: the prior is round, and a diagonal unit, being the
sum of two coordinates, is even nearer to the normal distribution that the KL asks for. So it is up to the seed whether
the units are the axes. Coordinates that vary independently are found by independent component analysis, which needs
no label, and both layers next to the code are linear: turned there, the network draws the same pictures. Not from a
paper of VAEs; the analysis is FastICA (Hyvarinen and Oja 2000).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.pretrain.code_layers import first_layer, posterior_layer, posterior_means

CLEAR_VARIANCE = 0.25
"""Variance of the posterior mean from which a unit is turned; one that says little is left as it is."""
_ITERATIONS = 1_000


@torch.no_grad()
def make_units_independent(vae: VAE, images: Tensor, *, seed: int) -> list[int]:
    """Turn the units that say much into independent components of what they say, in place.

    With m the means of those units (n, k), s = W (m - mean) are the components that FastICA finds, scaled to the
    units' mean variance. The encoder's last layer gives s, the decoder's first one takes inverse(W) s, so that
    decoding the mean gives the same picture. The log-variances become those of W's weighted mean of the units'
    variances: what the noise of two units has in common after turning is left out, which is what a diagonal posterior
    cannot say.

    Args:
        vae: of networks with a layer of features and one of the posterior, such as `burgess`.
        images: (n, C, S, S) in 0..1.
        seed: where FastICA starts.

    Returns:
        The units that were turned; none where fewer than two say much.

    Raises:
        ValueError: a network of another kind.
    """
    heads, listeners = posterior_layer(vae), first_layer(vae)
    means = posterior_means(vae, images)[1]  # (n, D)
    units = (means.var(0, correction=0) > CLEAR_VARIANCE).nonzero().flatten().tolist()
    if len(units) < 2:
        return []
    said = means[:, units]
    centre = said.mean(0)
    turn = _unmixing(said - centre, seed) * said.var(0, correction=0).mean().sqrt()  # (k, k)

    rows = [vae.code_size + unit for unit in units]
    weight, bias = (values.detach().double().cpu() for values in (heads.weight, heads.bias))
    shares = turn.square() / turn.square().sum(1, keepdim=True)
    heads.weight[units] = (turn @ weight[units]).to(heads.weight)
    heads.bias[units] = (turn @ (bias[units] - centre)).to(heads.bias)
    heads.weight[rows] = (shares @ weight[rows]).to(heads.weight)
    heads.bias[rows] = (shares @ bias[rows] + turn.square().sum(1).log()).to(heads.bias)

    heard = listeners.weight[:, units].double().cpu()
    listeners.bias += (heard @ centre).to(listeners.bias)
    listeners.weight[:, units] = (heard @ torch.linalg.inv(turn)).to(listeners.weight)
    return units


def _unmixing(centred: Tensor, seed: int) -> Tensor:
    """W (k, k), by which `centred` (n, k) becomes components of variance 1: each near a unit, and in its direction."""
    analysis = FastICA(whiten="unit-variance", random_state=seed, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        # components that are all but normal have no direction, and any is as good
        warnings.simplefilter("ignore", ConvergenceWarning)
        analysis.fit(centred.numpy())
    found = torch.from_numpy(np.asarray(analysis.components_))
    unit = centred.std(0, correction=0)
    likeness = found @ (centred.T @ centred / len(centred)) / unit  # correlations (k components, k units)
    order = []
    left = likeness.abs().clone()
    for _ in range(len(left)):
        component, place = divmod(int(left.argmax()), left.shape[1])
        order.append((place, component))
        left[component], left[:, place] = -1, -1
    rows = [component for _, component in sorted(order)]
    signs = likeness[rows].diagonal().sign()
    return found[rows] * signs.unsqueeze(1)
