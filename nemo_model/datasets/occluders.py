# SPDX-License-Identifier: Apache-2.0
"""Hide a given share of an object behind pieces of photographs.

As in the Occluded PASCAL3D+ (Wang et al., NeMo, ICLR 2021): level k hides 20-40, 40-60 or 60-80 %
of the object and up to 20, 20-40 or 40-60 % of the rest of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from nemo_model.datasets.common import DatasetError, read_image

OBJECT_SHARE = {1: (0.2, 0.4), 2: (0.4, 0.6), 3: (0.6, 0.8)}
BACKGROUND_SHARE = {1: (0.0, 0.2), 2: (0.2, 0.4), 3: (0.4, 0.6)}
SUFFIXES = {".jpg", ".jpeg", ".png"}
MIN_OBJECT_PIXELS = 64
_TRIES = 80
_RESTARTS = 6
_INSIDE = 0.02  # stay this far off the level's limits


@dataclass(frozen=True)
class Occlusion:
    """An image with occluders pasted in.

    image (H, W, 3) uint8; mask (H, W) bool, True where an occluder is; boxes (n, 4) int, each
    y0, y1, x0, x1 (half open); share of the object's silhouette that is hidden.
    """

    image: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray
    share: float


def photo_paths(folders: Sequence[Path]) -> list[Path]:
    """All photos below the folders, sorted. Raises DatasetError where there is none."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of photos")
        found += sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"{', '.join(map(str, folders))}: no .jpg or .png photo in it")
    return found


def generator(seed: int, level: int, category: str, name: str) -> np.random.Generator:
    """The random numbers of one image: they depend on nothing but these four."""
    key = hashlib.sha256(f"{seed}/{level}/{category}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "big"))


def occlude(
    image: np.ndarray,
    silhouette: np.ndarray,
    level: int,
    photos: Sequence[Path],
    rng: np.random.Generator,
) -> Occlusion | None:
    """Paste photo pieces until the level's share of the silhouette (H, W) is hidden.

    Returns None where it cannot be done: the silhouette has fewer than 64 pixels.
    """
    if int(silhouette.sum()) < MIN_OBJECT_PIXELS:
        return None
    for _ in range(_RESTARTS):
        canvas = _Canvas(image, silhouette)
        low, high = OBJECT_SHARE[level]
        target = rng.uniform(low + _INSIDE, high - _INSIDE)
        canvas.cover_object(target, low, high, photos, rng)
        if not low <= canvas.share <= high:
            continue
        canvas.cover_background(rng.uniform(*BACKGROUND_SHARE[level]), high, photos, rng)
        return Occlusion(canvas.image, canvas.mask, np.array(canvas.boxes), canvas.share)
    return None


class _Canvas:
    """An image under work: what is pasted, where, and how much of the object is left."""

    def __init__(self, image: np.ndarray, silhouette: np.ndarray) -> None:
        self.image = image.copy()
        self.silhouette = silhouette
        self.mask = np.zeros(silhouette.shape, dtype=bool)
        self.boxes: list[tuple[int, int, int, int]] = []
        self.object_area = int(silhouette.sum())
        self.share = 0.0

    def cover_object(
        self,
        target: float,
        low: float,
        high: float,
        photos: Sequence[Path],
        rng: np.random.Generator,
    ) -> None:
        """Paste pieces centred on what is still seen, until about `target` is hidden."""
        shrink = 1.0
        ceiling = min(target + 0.04, high)
        for _ in range(_TRIES):
            if self.share >= max(target - 0.04, low):
                return
            missing = (target - self.share) * self.object_area
            area = max(missing * rng.uniform(0.6, 1.6) * shrink, 0.02 * self.object_area)
            seen = np.argwhere(self.silhouette & ~self.mask)
            y, x = seen[rng.integers(len(seen))]
            if not self._paste(x, y, area, ceiling, photos, rng):
                shrink = max(shrink * 0.8, 0.1)

    def cover_background(
        self, target: float, high: float, photos: Sequence[Path], rng: np.random.Generator
    ) -> None:
        """Paste pieces beside the object, as far as the object's share allows."""
        outside = ~self.silhouette
        total = int(outside.sum())
        for _ in range(_TRIES // 4):
            seen = np.argwhere(outside & ~self.mask)
            missing = target * total - int((outside & self.mask).sum())
            if missing <= 0.02 * total or not len(seen):
                return
            y, x = seen[rng.integers(len(seen))]
            ceiling = min(self.share + 0.01, high)
            area = min(missing * rng.uniform(0.3, 1.0), self.object_area)
            self._paste(x, y, area, ceiling, photos, rng)

    def _paste(
        self,
        x: int,
        y: int,
        area: float,
        ceiling: float,
        photos: Sequence[Path],
        rng: np.random.Generator,
    ) -> bool:
        """Paste one piece of about `area` pixels centred on (x, y), unless it hides too much."""
        aspect = float(np.exp(rng.uniform(-0.7, 0.7)))
        side = np.sqrt(area / 0.6)  # a piece fills about 0.6 of its frame
        width = max(round(side * np.sqrt(aspect)), 4)
        height = max(round(side / np.sqrt(aspect)), 4)
        patch, alpha = _piece(width, height, photos, rng)
        rows, cols = self.image.shape[:2]
        left, top = int(x) - width // 2, int(y) - height // 2
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, cols), min(top + height, rows)
        patch = patch[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
        mask = self.mask.copy()
        mask[y0:y1, x0:x1] |= alpha > 0.5
        share = float((mask & self.silhouette).sum()) / self.object_area
        if share > ceiling or (mask == self.mask).all():
            return False
        old = self.image[y0:y1, x0:x1].astype(np.float32)
        mixed = old + alpha[..., None] * (patch.astype(np.float32) - old)
        self.image[y0:y1, x0:x1] = np.rint(mixed).astype(np.uint8)
        self.mask, self.share = mask, share
        self.boxes.append((y0, y1, x0, x1))
        return True


def _piece(
    width: int, height: int, photos: Sequence[Path], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a photo (height, width, 3) uint8 and its opacity (height, width) float32."""
    photo = _photo(photos[int(rng.integers(len(photos)))])
    rows, cols = photo.shape[:2]
    zoom = float(np.exp(rng.uniform(-0.7, 0.5)))  # photo pixels per pasted pixel
    cut_w, cut_h = min(max(round(width * zoom), 8), cols), min(max(round(height * zoom), 8), rows)
    x, y = int(rng.integers(cols - cut_w + 1)), int(rng.integers(rows - cut_h + 1))
    cut = photo[y : y + cut_h, x : x + cut_w]
    patch = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        patch = np.ascontiguousarray(patch[:, ::-1])
    kind = rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])
    shape = (_region, _blob, _polygon, _ellipse)[kind](patch, rng)
    return patch, cv2.GaussianBlur(shape.astype(np.float32), (3, 3), 0.6)


@lru_cache(maxsize=128)
def _photo(path: Path) -> np.ndarray:
    return read_image(path)


def _region(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A region that follows the photo's own edges: watershed from the middle and the border.

    A blob instead where the photo has no edges to stop it.
    """
    height, width = patch.shape[:2]
    markers = np.zeros((height, width), dtype=np.int32)
    markers[[0, -1]] = markers[:, [0, -1]] = 2
    axes = (max(round(width * 0.28), 1), max(round(height * 0.28), 1))
    cv2.ellipse(markers, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
    region = (cv2.watershed(patch, markers) == 1).astype(np.uint8)
    if region.mean() > 0.85:
        return _blob(patch, rng)
    return cv2.medianBlur(region, 3) if min(width, height) > 8 else region


def _blob(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth blob: low-frequency noise over a hill, cut at a level."""
    height, width = patch.shape[:2]
    noise = cv2.resize(rng.normal(size=(5, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1.0 - 1.25 * (x * x + y * y) + 0.35 * noise > 0).astype(np.uint8)


def _polygon(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A star-shaped polygon of 4 to 9 corners."""
    height, width = patch.shape[:2]
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 10))))
    radii = rng.uniform(0.55, 1.0, angles.size)
    corners = np.stack([np.cos(angles) * width, np.sin(angles) * height], 1) / 2 * radii[:, None]
    shape = np.zeros((height, width), dtype=np.uint8)
    centre = np.array([width, height]) / 2
    cv2.fillPoly(shape, [np.rint(corners + centre).astype(np.int32)], 1)
    return shape


def _ellipse(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An upright ellipse that fills the piece."""
    height, width = patch.shape[:2]
    shape = np.zeros((height, width), dtype=np.uint8)
    centre, axes = (width // 2, height // 2), (max(width // 2, 1), max(height // 2, 1))
    cv2.ellipse(shape, centre, axes, 0, 0, 360, 1, -1)
    return shape
