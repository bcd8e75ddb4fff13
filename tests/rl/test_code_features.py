from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.code_features import CodeFeatures
from rl.code_scaling import CodeScaling
from tests.conftest import make_encoder
from tests.frame_envs import Frames


@pytest.mark.parametrize("include", [False, True])
def test_log_variances_follow_the_scaled_codes_unscaled(include: bool) -> None:
    encoder = make_encoder(3)
    features = CodeFeatures(encoder, code_scaling="standardize", include_log_variance=include)
    image = Frames().reset()[0]
    mean, log_variance = encoder.posterior(image[None])
    shown = features.numpy(mean, log_variance)
    assert shown.shape == (1, features.width) == (1, (1 + include) * encoder.code_size)
    codes = CodeScaling(encoder, "standardize").numpy(mean)
    np.testing.assert_array_equal(shown, np.concatenate([codes, log_variance], axis=1) if include else codes)
    by_torch = features.torch(torch.from_numpy(mean), torch.from_numpy(log_variance))
    np.testing.assert_array_equal(by_torch.numpy(), shown)
