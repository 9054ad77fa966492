# SPDX-License-Identifier: Apache-2.0
"""Photo patches: what is pasted around an object and over it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MOST = 6
"""Occluders pasted before the wished share is given up."""


def photo_patch(
    photos: Sequence[Image], width: int, height: int, rng: np.random.Generator
) -> Image:
    """Return a random region of a random photo, (height, width, 3), perhaps mirrored."""
    photo = photos[int(rng.integers(len(photos)))]
    rows, cols = photo.shape[:2]
    share = rng.uniform(0.3, 1.0)
    w = max(int(min(cols, rows * width / height) * share), 2)
    h = max(int(min(rows, cols * height / width) * share), 2)
    x, y = int(rng.integers(cols - w + 1)), int(rng.integers(rows - h + 1))
    patch = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(patch[:, ::-1] if rng.random() < 0.5 else patch)


def blob(width: int, height: int, rng: np.random.Generator) -> Mask:
    """Return a random shape (height, width) that fills most of its frame."""
    kind = rng.random()
    mask = np.zeros((height, width), dtype=np.uint8)
    if kind < 0.25:
        mask[:] = 1
    elif kind < 0.5:
        centre, axes = (width // 2, height // 2), (width // 2, height // 2)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    else:
        corners = int(rng.integers(4, 11))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.55, 1.0, corners)
        x = width / 2 * (1 + radius * np.cos(angle))
        y = height / 2 * (1 + radius * np.sin(angle))
        cv2.fillPoly(mask, [np.stack([x, y], axis=1).astype(np.int32)], 1)
    return mask.astype(bool)


def paste_occluders(
    image: Image,
    silhouette: Mask,
    share: float,
    photos: Sequence[Image],
    objects: Sequence[Image],
    object_share: float,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """Paste patches until a share of the silhouette is hidden.

    Args:
        image: (H, W, 3), changed in place and returned.
        silhouette: (H, W) of the object.
        share: of the silhouette to hide, at least; never more than about 0.85.
        photos: textures of things; objects: photos of the category itself, pasted whole.
        object_share: probability that a patch shows another object of the category.

    Returns:
        the image and the occluders' mask (H, W).
    """
    hidden = np.zeros(silhouette.shape, dtype=bool)
    total = np.count_nonzero(silhouette)
    if total == 0:
        return image, hidden
    rows, cols = np.nonzero(silhouette)
    box_w, box_h = int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1
    for _ in range(MOST):
        if np.count_nonzero(hidden & silhouette) >= share * total:
            break
        size = float(np.sqrt(share)) * rng.uniform(0.5, 1.1)
        w = int(np.clip(box_w * size * rng.uniform(0.6, 1.4), 6, image.shape[1]))
        h = int(np.clip(box_h * size * rng.uniform(0.7, 1.8), 6, image.shape[0]))
        at = int(rng.integers(len(rows)))
        x, y = int(cols[at] - w // 2), int(rows[at] - h // 2)
        source = objects if rng.random() < object_share else photos
        patch, shape = photo_patch(source, w, h, rng), blob(w, h, rng)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + w, image.shape[1]), min(y + h, image.shape[0])
        inside = shape[y0 - y : y1 - y, x0 - x : x1 - x]
        new = hidden.copy()
        new[y0:y1, x0:x1] |= inside
        if np.count_nonzero(new & silhouette) > 0.85 * total:
            continue
        hidden = new
        image[y0:y1, x0:x1][inside] = patch[y0 - y : y1 - y, x0 - x : x1 - x][inside]
    return image, hidden
