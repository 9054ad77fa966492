# SPDX-License-Identifier: Apache-2.0
"""Wrong poses that training compares the true one with: those that a search would come across.

A robot's search does not know where the object stands. It puts every rotation where the object
would fill the detector's box, so that is where half of the rivals stand; the others turn in place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.boxfit import translation_from_box
from nemo_model.pose import transform

Array = npt.NDArray[np.float64]

RIVALS = 7
"""Wrong poses per sample (see rival_poses)."""

_AZIMUTHS_DEG = ((12, 35), (35, 90), (90, 160))
_TILT_DEG = 9.0
_MOVED = 0.5
"""Probability that a turned rival stands where the box would put it."""
_JITTER = 0.04
"""Standard deviation of the box's sides, as a share of its size."""
_SCALE = 0.12
"""Standard deviation of the misplaced rival's log distance."""
_SHIFT = 0.06
"""... and of its shift, object units."""
_STRAY = 2.0
"""A fitted distance off by more than this factor is not used."""


def rival_rotations(R: Array, rng: np.random.Generator, symmetry: int = 1) -> list[Array]:
    """Return five wrong rotations: the opposite view, three other azimuths, one close by.

    An object that looks the same after turns by 360 / n degrees is turned by n-th parts of these,
    one that does after any turn about axes across z by thirds of them: none looks as the truth.
    """
    offsets = [
        np.deg2rad(180 + rng.uniform(-20, 20)),
        *(rng.choice([-1, 1]) * np.deg2rad(rng.uniform(lo, hi)) for lo, hi in _AZIMUTHS_DEG),
    ]
    if symmetry == 0:
        axes = rng.uniform(0.0, 2.0 * np.pi, len(offsets))
        turns = [
            a / 3 * np.array([np.cos(b), np.sin(b), 0]) for a, b in zip(offsets, axes, strict=True)
        ]
        rivals = [R @ Rotation.from_rotvec(turn).as_matrix() for turn in turns]
    else:
        rivals = [R @ Rotation.from_euler("z", a / symmetry).as_matrix() for a in offsets]
    return [*rivals, R @ _tilt(rng)]


def rival_poses(
    T: Array,
    outline: Array,
    K: Array,
    boxed: bool,
    rng: np.random.Generator,
    symmetry: int = 1,
) -> list[Array]:
    """Return RIVALS wrong poses (4, 4).

    Five turned ones (rival_rotations), half of them in the true place, half where the object would
    fill the box; one tilted a little that fills the box; one unturned, nearer or further and
    shifted.

    Args:
        T: (4, 4) the true pose in the crop camera.
        outline: (P, 3) points whose projection a detector's box encloses.
        K: (3, 3) of the feature map.
        boxed: whether there is a box of the whole object; else every rival turns in place.
        symmetry: turns about z that leave the object as it is; see Card.
    """
    box = _jittered(_enclosing(T, outline, K), rng)
    found = []
    for R in rival_rotations(T[:3, :3], rng, symmetry):
        moved = rng.random() < _MOVED
        found.append(transform(R, _place(R, T, outline, K, box) if moved and boxed else T[:3, 3]))
    R = T[:3, :3] @ _tilt(rng)
    found.append(transform(R, _place(R, T, outline, K, box) if boxed else T[:3, 3]))
    t = T[:3, 3] + np.append(rng.normal(0.0, _SHIFT, 2), 0.0)
    found.append(transform(T[:3, :3], t * np.exp(rng.normal(0.0, _SCALE))))
    return found


def _tilt(rng: np.random.Generator) -> Array:
    return np.asarray(Rotation.from_rotvec(rng.normal(0.0, np.deg2rad(_TILT_DEG), 3)).as_matrix())


def _enclosing(T: Array, outline: Array, K: Array) -> Array:
    """The box (4,) around the projected outline, in the units of K."""
    uvw = (outline @ T[:3, :3].T + T[:3, 3]) @ K.T
    uv = uvw[:, :2] / np.maximum(uvw[:, 2:], 1e-6)
    return np.concatenate([uv.min(axis=0), uv.max(axis=0)])


def _jittered(box: Array, rng: np.random.Generator) -> Array:
    size = np.tile(box[2:] - box[:2], 2)
    return box + size * np.clip(rng.normal(0.0, _JITTER, 4), -2.5 * _JITTER, 2.5 * _JITTER)


def _place(R: Array, T: Array, outline: Array, K: Array, box: Array) -> Array:
    """Where the object turned to R fills the box; the true place where that is far away."""
    t = translation_from_box(outline, R, K, box)
    off = t[2] / T[2, 3]
    return t if 1.0 / _STRAY < off < _STRAY else T[:3, 3]
