# SPDX-License-Identifier: Apache-2.0
"""Pictures in the style of other photos, so that a network learns shape and not a renderer's look.

Two input-side changes, of which one is drawn:

- amplitudes of low frequencies, of Y. Yang and S. Soatto, FDA: Fourier Domain Adaptation for
  Semantic Segmentation, CVPR 2020: F^-1(M A(style) + (1 - M) A(image), P(image)), with amplitude A
  and phase P of the Fourier transform F of each channel and M = 1 on the frequencies (u, v) with
  |u| <= beta H and |v| <= beta W (equation 4).
- mean and standard deviation of each channel, the formula of X. Huang and S. Belongie, Arbitrary
  Style Transfer in Real-time with Adaptive Instance Normalization, ICCV 2017 (equation 8), here of
  pixels, in the Lab colours of E. Reinhard et al., Color Transfer between Images, 2001:
  s(style) (x - m(image)) / s(image) + m(style).

Either is mixed with the picture by a share drawn anew: x + share (changed - x).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BETA = (0.01, 0.09)
"""Range of beta; FDA's figures are 0.01, 0.05 and 0.09."""
SHARE = (0.3, 1.0)
STEEPEST = 3.0
"""Largest factor on a channel's standard deviation: more makes noise of a plain picture."""


def restyle(image: Image, photo: Image, rng: np.random.Generator) -> Image:
    """The image (H, W, 3) RGB with the style of a photo (any size), one of the two ways."""
    height, width = image.shape[:2]
    style = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    x = image.astype(np.float32)
    if rng.random() < 0.5:
        changed = low_amplitudes(x, style.astype(np.float32), float(rng.uniform(*BETA)))
    else:
        changed = colour_statistics(image, np.asarray(style, dtype=np.uint8))
    share = np.float32(rng.uniform(*SHARE))
    return np.asarray(np.clip(np.rint(x + share * (changed - x)), 0, 255), dtype=np.uint8)


def low_amplitudes(image: Floats, style: Floats, beta: float) -> Floats:
    """The image (H, W, 3) with the style's amplitudes of the frequencies below beta."""
    height, width = image.shape[:2]
    ours, theirs = np.fft.fft2(image, axes=(0, 1)), np.fft.fft2(style, axes=(0, 1))
    rows = np.abs(np.fft.fftfreq(height)) <= beta  # cycles a pixel: |u| / H
    cols = np.abs(np.fft.fftfreq(width)) <= beta
    low = (rows[:, None] & cols[None, :])[..., None]
    amplitude = np.where(low, np.abs(theirs), np.abs(ours))
    mixed = np.fft.ifft2(amplitude * np.exp(1j * np.angle(ours)), axes=(0, 1))
    return np.asarray(mixed.real, dtype=np.float32)


def colour_statistics(image: Image, style: Image) -> Floats:
    """The image (H, W, 3) RGB with the style's mean and deviation of each channel of Lab."""
    ours, theirs = (
        cv2.cvtColor(each.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
        for each in (image, style)
    )
    mean, deviation = ours.mean(axis=(0, 1)), ours.std(axis=(0, 1))
    factor = np.minimum(theirs.std(axis=(0, 1)) / np.maximum(deviation, 1e-3), STEEPEST)
    moved = ((ours - mean) * factor + theirs.mean(axis=(0, 1))).astype(np.float32)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_Lab2RGB) * 255, dtype=np.float32)
