# SPDX-License-Identifier: Apache-2.0
"""Hide a given share of an object from one side, as a wall, a hedge or another car would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nemo_model.datasets.common import read_image
from nemo_model.datasets.occluders import MIN_OBJECT_PIXELS, OBJECT_SHARE, Occlusion

SIDES = ("left", "right", "below", "above")
OFTEN = (0.35, 0.35, 0.25, 0.05)
"""How often the wall stands on each side."""
_TRIES = 8


def wall(
    image: np.ndarray,
    silhouette: np.ndarray,
    level: int,
    photos: Sequence[Path],
    rng: np.random.Generator,
) -> Occlusion | None:
    """Paste one photo over everything on one side of a straight edge.

    Arguments and result as in occluders.occlude; the share hidden is drawn evenly from the level's.
    """
    if int(silhouette.sum()) < MIN_OBJECT_PIXELS:
        return None
    edge = _edge(silhouette, level, rng)
    if edge is None:
        return None
    side, depth, share = edge
    rows, cols = silhouette.shape
    y0, y1, x0, x1 = {
        "left": (0, rows, 0, depth),
        "right": (0, rows, cols - depth, cols),
        "below": (rows - depth, rows, 0, cols),
        "above": (0, depth, 0, cols),
    }[side]
    changed, mask = image.copy(), np.zeros(silhouette.shape, dtype=bool)
    changed[y0:y1, x0:x1] = _cover(y1 - y0, x1 - x0, photos, rng)
    mask[y0:y1, x0:x1] = True
    return Occlusion(changed, mask, np.array([[y0, y1, x0, x1]]), share)


def _edge(
    silhouette: np.ndarray, level: int, rng: np.random.Generator
) -> tuple[str, int, float] | None:
    """The wall's side, how far it reaches in, pixels, and the share of the silhouette it hides.

    None for an object so coarse that no line of pixels splits it so.
    """
    low, high = OBJECT_SHARE[level]
    for _ in range(_TRIES):
        side = SIDES[int(rng.choice(len(SIDES), p=OFTEN))]
        counts = silhouette.sum(axis=0 if side in ("left", "right") else 1)
        if side in ("right", "below"):
            counts = counts[::-1]
        hidden = np.cumsum(counts) / counts.sum()
        depth = int(np.argmin(np.abs(hidden - rng.uniform(low, high))))
        if low <= hidden[depth] <= high:
            return side, depth + 1, float(hidden[depth])
    return None


def _cover(height: int, width: int, photos: Sequence[Path], rng: np.random.Generator) -> np.ndarray:
    """The middle of a photo, (height, width, 3), perhaps mirrored."""
    photo = read_image(photos[int(rng.integers(len(photos)))])
    rows, cols = photo.shape[:2]
    zoom = max(height / rows, width / cols)
    h, w = max(round(height / zoom), 1), max(round(width / zoom), 1)
    y, x = (rows - h) // 2, (cols - w) // 2
    patch = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(patch[:, ::-1] if rng.random() < 0.5 else patch)
