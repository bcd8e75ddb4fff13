from __future__ import annotations

import pytest
import torch

from sparse_repr.models import HEADS, build_encoder, build_vae


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 64), (1, 32), (3, 32)])
def test_shapes(channels: int, size: int) -> None:
    vae = build_vae("burgess", {"channels": channels, "size": size, "code_size": 7}, seed=0)
    posterior, z, logits = vae(torch.rand(5, channels, size, size), torch.zeros(5, 7))
    assert posterior.mean.shape == posterior.log_variance.shape == (5, 7)
    assert torch.equal(z, posterior.mean)  # no noise
    assert logits.shape == (5, channels, size, size)


def test_the_network_is_that_of_burgess_2018() -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 64, "code_size": 10}, seed=0)
    # 4 convolutions of 32 channels 4x4, dense 512 -> 256 -> 256 -> 2 * 10; counted by hand
    convolutions = (16 * 32 + 32) + 3 * (16 * 32 * 32 + 32)
    dense = (512 * 256 + 256) + (256 * 256 + 256)
    assert sum(p.numel() for p in vae.encoder.parameters()) == convolutions + dense + (256 * 20 + 20)
    back = (10 * 256 + 256) + (256 * 256 + 256) + (256 * 512 + 512)
    assert sum(p.numel() for p in vae.decoder.parameters()) == back + 3 * (16 * 32 * 32 + 32) + (16 * 32 + 1)


def test_noise_is_scaled_by_the_posterior() -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 3}, seed=0)
    noise = torch.tensor([[1.0, -2.0, 0.5]])
    posterior, z, _ = vae(torch.rand(1, 1, 32, 32), noise)
    torch.testing.assert_close(z, posterior.mean + torch.sqrt(posterior.log_variance.exp()) * noise)


def test_weights_depend_on_the_seed_alone_and_global_state_is_untouched() -> None:
    arguments = {"channels": 1, "size": 32, "code_size": 3}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_vae("burgess", arguments, seed=1)
    assert torch.equal(torch.rand(1), expected)
    second, third = (build_vae("burgess", arguments, seed=seed) for seed in (1, 2))
    assert torch.equal(first.decoder.layers[0].weight, second.decoder.layers[0].weight)  # type: ignore[union-attr]
    assert not torch.equal(first.decoder.layers[0].weight, third.decoder.layers[0].weight)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 1, "size": 60, "code_size": 3}, "64x64 or 32x32 images, got 60x60"),
        ({"channels": 2, "size": 64, "code_size": 3}, "1 or 3 channels, got 2"),
        ({"channels": 1, "size": 64, "code_size": 0}, "at least 1 unit, got 0"),
    ],
)
def test_bad_sizes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder("burgess", arguments)


def test_outputs_stay_float32_under_autocast() -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 3}, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        posterior, _, logits = vae(torch.rand(2, 1, 32, 32), torch.zeros(2, 3))
    assert posterior.mean.dtype == posterior.log_variance.dtype == logits.dtype == torch.float32


@pytest.mark.parametrize("head", [head for head in HEADS if head != "gaussian"])
def test_every_head_is_part_of_a_graph_that_takes_any_batch(head: str) -> None:
    encoder = build_encoder(f"burgess_{head}", {"channels": 1, "size": 32, "code_size": 5}).eval()
    images = torch.rand(7, 1, 32, 32)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(encoder, (images[:2],), dynamic_shapes=(batch,), strict=False)
    expected = encoder(images)
    for found, wanted in zip(program.module()(images), expected, strict=True):
        torch.testing.assert_close(found, wanted)
