# SPDX-License-Identifier: Apache-2.0
"""Styles of other photos in training, and channel statistics fitted to unlabelled pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import training_set

from nemo_model.training.adapt import adapt, moments
from nemo_model.training.backbone import Backbone
from nemo_model.training.photometric import degrade
from nemo_model.training.style import colour_statistics, low_amplitudes, restyle

STYLE = training_set.PLAIN.model_copy(update={"style": 1.0})


def picture(seed: int, level: float = 120.0, spread: float = 20.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(level, spread, (32, 48, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def test_the_mean_is_the_styles_and_what_is_fine_is_the_images() -> None:
    image, style = picture(0).astype(np.float32), picture(1, 60.0).astype(np.float32)
    found = low_amplitudes(image, style, 0.05)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), style.mean(axis=(0, 1)), rtol=1e-4)
    before, after = (np.fft.fft2(each, axes=(0, 1)) for each in (image, found))
    fine = np.abs(np.fft.fftfreq(32)) > 0.05
    np.testing.assert_allclose(after[fine], before[fine], atol=1e-1)
    np.testing.assert_allclose(
        np.angle(after[1, 1] / before[1, 1]), 0.0, atol=1e-3
    )  # phases stay, those of low frequencies too
    np.testing.assert_allclose(low_amplitudes(image, image, 0.05), image, atol=1e-3)


def test_colours_get_the_styles_mean() -> None:
    image, style = picture(0, 100.0, 6.0), picture(1, 160.0, 6.0)  # Lab is nearly linear there
    style[..., 0] //= 2
    found = colour_statistics(image, style)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), style.mean(axis=(0, 1)), atol=2.0)
    np.testing.assert_allclose(colour_statistics(image, image), image, atol=1.0)


def test_a_plain_picture_does_not_become_noise() -> None:
    image = picture(0, 120.0, 0.4)
    assert colour_statistics(image, picture(1, 120.0, 60.0)).std() < 10.0


def test_a_style_changes_a_copy_and_goes_by_the_seed() -> None:
    image, photos = picture(0), [picture(k, 40.0 * k) for k in range(1, 6)]
    before = image.copy()
    first, again, other = (
        degrade(image, STYLE, np.random.default_rng(seed), photos) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, image)
    assert not np.array_equal(first, other)
    assert restyle(image, photos[0][:7, :9], np.random.default_rng(0)).shape == image.shape


def test_switched_off_it_draws_nothing() -> None:
    noisy = training_set.PLAIN.model_copy(update={"noise": 1.0, "colour": 1.0})
    found = [degrade(picture(0), noisy, np.random.default_rng(3), styles)
             for styles in ((), [picture(1)])]  # fmt: skip
    np.testing.assert_array_equal(*found)


@pytest.fixture(scope="module")
def domains() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures, and others that are darker and less rich in contrast."""
    torch.manual_seed(0)
    source = torch.nn.functional.interpolate(255.0 * torch.rand(6, 3, 8, 8), scale_factor=8.0)
    return source, 40.0 + 0.35 * source.flip(0)


def backbone() -> Backbone:
    torch.manual_seed(1)
    found = Backbone(16)
    for layer in found.modules():  # random weights shrink what they are given; keep it alive
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return found.eval()


def test_target_pictures_get_the_statistics_of_the_source(
    domains: tuple[torch.Tensor, torch.Tensor],
) -> None:
    source, target = domains
    network = backbone()
    wanted, before = moments(network, source), moments(network, target)
    adapt(network, source, target)
    after = moments(network, target)
    first = next(iter(wanted))
    assert not torch.allclose(before[first].mean, wanted[first].mean, atol=1e-2)
    torch.testing.assert_close(after[first].mean, wanted[first].mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        after[first].deviation, wanted[first].deviation, rtol=1e-3, atol=1e-3
    )

    def apart(found: dict) -> float:
        return sum(float((found[k].mean - wanted[k].mean).norm()) for k in wanted)

    assert apart(after) < 0.1 * apart(before)
    assert network(target).shape == (6, 16, 8, 8)


def test_the_same_pictures_change_nothing(domains: tuple[torch.Tensor, torch.Tensor]) -> None:
    source, _ = domains
    network = backbone()
    with torch.no_grad():
        before = network(source)
        adapt(network, source, source)
        torch.testing.assert_close(network(source), before, rtol=1e-3, atol=1e-3)
