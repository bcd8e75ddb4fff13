"""What the paper's tables say, digit by digit, and what public runs of the same methods reached.

Cristovao, Nakada, Tanimura and Asoh, "Sparsity enforcement on latent variables for better disentanglement in VAE".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

RANGE_255_DB = 20 * math.log10(255)
"""PSNR of images in 0..1 computed with the range 255 is this much (48.13 dB) higher than the true one."""

TABLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    # Table 1: reconstruction-dSprites
    "table1": {
        "vae": {"psnr_db": "64.2544", "ssim": "0.9184"},
        "beta_vae": {"psnr_db": "64.2543", "ssim": "0.9180"},
        "sparse_perceptual": {"psnr_db": "64.2544", "ssim": "0.9184"},
    },
    # Table 2: reconstruction-celebA
    "table2": {
        "vae": {"psnr_db": "58.4036", "ssim": "0.3126"},
        "beta_vae": {"psnr_db": "58.4037", "ssim": "0.3126"},
        "sparse_perceptual": {"psnr_db": "54.9790", "ssim": "0.1545"},
    },
    # Table 3: Disentanglement-dSprites
    "table3": {
        "vae": {"mig": "1.6e-8", "aam": "0.20"},
        "beta_vae": {"mig": "0.4", "aam": "2.75e-8"},
        "sparse_perceptual": {"mig": "0.2", "aam": "2.36e-8"},
    },
}
"""Table -> method (rows VAE, Beta-VAE and Ours) -> score -> what is printed there."""

PUBLIC_MIG: Mapping[str, str] = {"vae": "0.10", "beta_vae": "0.21", "factor_vae": "0.43", "beta_tcvae": "0.45"}
"""MIG on dSprites, 10 units, about 300,000 steps: the table of the InfoGAN-CR repository, which quotes the methods'
papers. The estimators differ from ours: some take histograms."""


def true_psnr_db(table: str, method: str) -> float:
    """The paper's PSNR if it was computed with range 255 on images in 0..1: a conjecture that would explain its size.

    Raises:
        KeyError: the table has no such row or no PSNR.
    """
    return float(TABLES[table][method]["psnr_db"]) - RANGE_255_DB
