# SPDX-License-Identifier: Apache-2.0
"""What a camera does to an image: colour, resolution, blur, noise, compression; other styles."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.training.config import AugmentConfig
from nemo_model.training.style import restyle

Image = npt.NDArray[np.uint8]


def degrade(
    image: Image, config: AugmentConfig, rng: np.random.Generator, styles: Sequence[Image] = ()
) -> Image:
    """Return a copy of image (H, W, 3) RGB as a worse camera would have taken it.

    styles: photos whose style it may take. Where config.style is 0 nothing is drawn for it.
    """
    if config.style and styles and rng.random() < config.style:
        image = restyle(image, styles[int(rng.integers(len(styles)))], rng)
    if rng.random() < config.colour:
        image = _colour(image, rng)
    if rng.random() < config.shrink:
        share = float(np.exp(rng.uniform(np.log(config.shrink_to), 0.0)))
        image = _resolution(image, share)
    if rng.random() < config.blur:
        image = _blur(image, rng)
    if rng.random() < config.noise:
        noise = rng.normal(0.0, rng.uniform(2.0, 12.0), (*image.shape[:2], 1))
        image = _bytes(image + noise + rng.normal(0.0, 2.0, image.shape))
    if rng.random() < config.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        _, data = cv2.imencode(".jpg", image, quality)
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image


def _bytes(values: npt.NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def _colour(image: Image, rng: np.random.Generator) -> Image:
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.06 else rng.uniform(0.4, 1.5)
    x = grey + saturation * (x - grey)
    level = float(grey.mean())
    x = (x - level) * rng.uniform(0.6, 1.35) + level * rng.uniform(0.65, 1.3)
    x *= rng.uniform(0.88, 1.12, 3).astype(np.float32)
    return _bytes(x + rng.uniform(-15, 15))


def _resolution(image: Image, share: float) -> Image:
    height, width = image.shape[:2]
    small = (max(int(width * share), 8), max(int(height * share), 8))
    low = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR))


def _blur(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8)))
    length = int(rng.integers(3, 10))
    line = np.zeros((length, length), dtype=np.float32)
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1.0)
    line[length // 2] = 1.0
    kernel = np.asarray(cv2.warpAffine(line, turn, (length, length)), dtype=np.float32)
    kernel /= max(float(kernel.sum()), 1e-6)
    return np.asarray(cv2.filter2D(image, -1, kernel), dtype=np.uint8)
