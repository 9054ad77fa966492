# SPDX-License-Identifier: Apache-2.0
"""What a calibration is fitted on: good and bad boxes on good and bad photos.

A detector's boxes are rough, may hold only what is seen of an object, end at the image's edge, lie
on small objects, on other things, or on nothing: the score has to know all of these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.occluded import folder_name, read_occlusion
from nemo_model.evaluation.samples import Sample

Array = np.ndarray

_CARS = """
2701002 2814533 2930766 2965783 2974003 3100240 3345487 3393912 3417042 3444034 3445924
3459775 3594945 3670208 3769881 3770679 3777568 3796401 3895866 3930630 3967562 3977966
4037443 4065272 4146614 4252225 4285008 4461696 4467665 4487081
"""
LOOK_ALIKE = {"car": frozenset(int(number) for number in _CARS.split())}
"""Numbers of the ImageNet synsets that show the category, a part, or what could pass for it."""


@dataclass(frozen=True)
class Case:
    """A photo and a box to be estimated in.

    kind: "object" (a detector's box), "part" (around the visible part), "off" (shifted and scaled),
    "cut" (by the image's edge), "small", "background" or "other" (another category). level: of
    occlusion, -1 where there is no object. T_cam_obj: the truth (4, 4), object units, None where
    there is none. group: what may not be on both sides of a cross-validation. symmetry: of this
    object, None where the data set does not say.
    """

    kind: str
    level: int
    group: str
    image: Array
    K: Array
    box: Array
    T_cam_obj: Array | None
    symmetry: int | None = None


def object_cases(
    samples: Sequence[Sample], level: int, jitter: float, groups: dict[str, str],
    rng: np.random.Generator, share: float = 1.0, kind: str = "object",
    occluded: Path | None = None, category: str = "",
) -> Iterator[Case]:  # fmt: skip
    """Cases of labelled objects with the boxes of a kind.

    Args:
        samples: of one level of occlusion.
        level: 0 to 3.
        jitter: standard deviation of each side of "object" boxes, share of the size.
        groups: name of a photo -> its group; the name itself where it is missing.
        rng: draws everything.
        share: of the samples to take.
        kind: of Case.
        occluded: the occluded copy that tells "part" what is hidden.
        category: its.
    """
    for sample in samples:
        if share < 1.0 and rng.random() >= share:
            continue
        box, image, K = sample.box, sample.read_image(), sample.K
        if kind == "part":
            assert occluded is not None
            note = occluded / "annotations" / folder_name(category, level) / f"{sample.name}.npz"
            part = visible_box(*read_occlusion(note)[:2])
            if part is None:
                continue
            box = jittered(part, 0.02, rng)
        elif kind == "off":
            box = misplaced(box, rng)
        elif kind == "cut":
            image, K, box = cut(image, K, box, rng)
        elif kind == "small":
            image, K, box = shrunk(image, K, box, rng)
            box = jittered(box, jitter, rng)
        else:
            box = jittered(box, jitter, rng)
        group = groups.get(sample.name, sample.name)
        yield Case(kind, level, group, image, K, box, sample.T_cam_obj, sample.symmetry)


def empty_cases(
    photos: Sequence[Path], read: Callable[[Path], Array], kind: str, count: int,
    rng: np.random.Generator,
) -> Iterator[Case]:  # fmt: skip
    """Cases where the category is not: "background" boxes anywhere, "other" ones about the photo's
    subject, in the middle and most of it. Raises DatasetError where there are no photos."""
    if not photos:
        raise DatasetError("no photos without the category to be wrong on")
    low, high = (0.2, 0.7) if kind == "background" else (0.6, 0.98)
    for number in range(count):
        path = photos[number % len(photos)]
        image = read(path)
        rows, cols = image.shape[:2]
        w, h = rng.uniform(low, high) * cols, rng.uniform(low, high) * rows
        x, y = rng.uniform(0, cols - w), rng.uniform(0, rows - h)
        focal = rng.uniform(0.8, 3.0) * cols
        K = np.array([[focal, 0, cols / 2], [0, focal, rows / 2], [0, 0, 1.0]])
        yield Case(kind, -1, path.stem, image, K, np.array([x, y, x + w, y + h]), None)


def split_photos(paths: Sequence[Path], category: str, part: int) -> list[Path]:
    """One half (part 0 to fit on, 1 to report on), by the hash of their names, of the photos whose
    synset does not look like the category."""
    alike = LOOK_ALIKE.get(category, frozenset())
    return [
        path
        for path in paths
        if _synset(path) not in alike and hashlib.sha256(path.stem.encode()).digest()[0] % 2 == part
    ]


def _synset(path: Path) -> int:
    """The number in a name like n02701002_ambulance.JPEG, 0 where there is none."""
    digits = path.stem[1:9]
    return int(digits) if path.stem[:1] == "n" and digits.isdigit() else 0


def jittered(box: Array, jitter: float, rng: np.random.Generator) -> Array:
    """A box (4,) whose sides err by a share of its size, at most 2.5 deviations."""
    x1, y1, x2, y2 = box
    noise = np.clip(rng.normal(0.0, 1.0, 4), -2.5, 2.5) * jitter
    return np.asarray(box + noise * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1]))


def misplaced(box: Array, rng: np.random.Generator) -> Array:
    """A box shifted by up to a quarter of its size, scaled by 0.7 to 1.4, its aspect off by 15 %"""
    size, centre = box[2:] - box[:2], (box[:2] + box[2:]) / 2
    centre = centre + rng.uniform(-0.25, 0.25, 2) * size
    aspect = rng.uniform(-0.15, 0.15)
    half = 0.5 * size * np.exp(rng.uniform(-0.35, 0.35) + np.array([aspect, -aspect]))
    return np.concatenate([centre - half, centre + half])


def visible_box(occluder: Array, silhouette: Array) -> Array | None:
    """The box (4,) of what is seen of a silhouette (H, W), None for less than 50 pixels."""
    rows, cols = np.nonzero(silhouette & ~occluder)
    if len(rows) < 50:
        return None
    low, high = np.percentile([cols, rows], [1, 99], axis=1)
    return np.concatenate([low, high])


def cut(image: Array, K: Array, box: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Let the image end 15 to 50 % inside the object, left, right or below; padded elsewhere."""
    rows, cols = image.shape[:2]
    x1, y1, x2, y2 = box
    side, share = int(rng.integers(3)), rng.uniform(0.15, 0.5)
    left = int(x1 + share * (x2 - x1)) if side == 0 else 0
    right = int(x2 - share * (x2 - x1)) if side == 1 else cols
    bottom = int(y2 - 0.7 * share * (y2 - y1)) if side == 2 else rows
    pad = min(20, (right - left) // 2, bottom // 2)
    before = 0 if side == 0 else pad
    image = cv2.copyMakeBorder(
        np.ascontiguousarray(image[:bottom, left:right]), pad, 0 if side == 2 else pad, before,
        0 if side == 1 else pad, cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    moved = np.array([before - left, pad], dtype=np.float64)
    K = K.copy()
    K[:2, 2] += moved
    edge = np.array([image.shape[1], image.shape[0]]) - 1.0
    return image, K, np.clip(box + np.tile(moved, 2), 0.0, np.tile(edge, 2))


def shrunk(
    image: Array, K: Array, box: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """The photo at 0.15 to 0.5 of its size, as of a far object; pixel centres at integers."""
    factor = float(np.exp(rng.uniform(np.log(0.15), np.log(0.5))))
    rows, cols = image.shape[:2]
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    ratio = np.array([small.shape[1] / cols, small.shape[0] / rows])
    K = K.copy()
    K[:2] *= ratio[:, None]
    K[:2, 2] += 0.5 * ratio - 0.5
    return small, K, box * np.tile(ratio, 2) + np.tile(0.5 * ratio - 0.5, 2)
