# SPDX-License-Identifier: Apache-2.0
"""What a solve is given, checked and brought into the form that the compiled code takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_model.boxfit import DOUBTFUL, box_rays
from nemo_model.errors import NemoError
from nemo_model.lean import log_probabilities
from nemo_model.objective import Scene
from nemo_model.refine import Hints, Schedule
from nemo_model.solver_model import Buffers, SolverModel, buffers_of
from nemo_model.viewpoint import BINS, Viewpoint

Array = npt.NDArray[np.float64]

_FARTHEST = 1e4  # no translation or box side may be further out than this (object units, cells)
_WIDEST, _LONGEST = 1e-4, 1e7  # focal lengths in cells beyond which float32 holds no picture


def scene_of(
    model: SolverModel, features: npt.ArrayLike, K_map: npt.ArrayLike
) -> tuple[Scene, Buffers]:
    """Return the scene, whose background is still to be filled, and the buffers of its size.

    features (h, w, C), K_map (3, 3) in cells. Raises NemoError for other shapes or values.
    """
    grid = np.ascontiguousarray(features, dtype=np.float32)
    channels = model.table.features.shape[1]
    if grid.ndim != 3 or grid.shape[2] != channels or not grid.size:
        raise NemoError(f"feature map: shape {grid.shape}, need (h, w, {channels})")
    K = np.asarray(K_map, dtype=np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise NemoError("K_map: need a finite (3, 3) matrix with positive focal lengths")
    if min(K[0, 0], K[1, 1]) < _WIDEST or np.abs(K).max() > _LONGEST:
        raise NemoError(f"K_map: {K.tolist()} is no camera's: numbers far too small or too large")
    height, width = grid.shape[:2]
    buffers = buffers_of(model, height, width)
    flat = grid.reshape(height * width, channels)
    scene = Scene(
        flat, buffers.background, height, width,
        float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]),
    )  # fmt: skip
    return scene, buffers


def hints_of(
    model: SolverModel,
    box_map: npt.ArrayLike | None,
    K: Array,
    reliable: tuple[bool, bool, bool, bool],
    off: bool,
    viewpoint: Viewpoint | None = None,
) -> Hints:
    """The box (4,) in cells and the viewpoint prior as terms.

    box_map None: neither, since it is the box's cells that both are weighed by; off: no pull by the
    box. Raises NemoError for a box or flags that cannot be.
    """
    even = np.zeros(BINS)
    if box_map is None:
        return Hints(model.outline, np.zeros(4), np.ones(6), np.ones(6), 0.0, even, 0.0)
    box = np.asarray(box_map, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or np.abs(box).max() > _FARTHEST:
        raise NemoError(f"box: {box.tolist()} must be four finite numbers in map cells")
    width, height = box[2] - box[0], box[3] - box[1]
    if width <= 0 or height <= 0:
        raise NemoError(f"box: {box.tolist()} is empty, need x1 < x2 and y1 < y2")
    flags = np.asarray(reliable, dtype=bool)
    if flags.shape != (4,):
        raise NemoError("reliable: need four flags, for x1, y1, x2, y2")
    config = model.config
    side = max(0.5 * config.box_sigma * (width + height), 1e-3)
    across, down = max(config.centre_sigma * width, 1e-3), max(config.centre_sigma * height, 1e-3)
    # a cut box's centre says nothing
    whole = [config.centre_weight if flags[k] and flags[k + 2] else 0.0 for k in range(2)]
    return Hints(
        model.outline,
        box_rays(box, K),
        np.array([*(1.0 if flag else DOUBTFUL for flag in flags), *whole]),
        np.array([side, side, side, side, across, down]),
        0.0 if off else config.box_weight * width * height,
        even if viewpoint is None else viewpoint.log,
        0.0 if viewpoint is None else config.viewpoint_weight * width * height,
    )


def leaning(hints: Hints, R: Array) -> float:
    """What the viewpoint prior adds at R (3, 3), in units of E."""
    if hints.viewpoint_scale == 0.0:
        return 0.0
    return hints.viewpoint_scale * float(log_probabilities(hints.viewpoint, R)[0])


def schedule_of(model: SolverModel, adam_steps: int, newton_steps: int) -> Schedule:
    """A climb of so many steps, with the rates and limits of the model's config."""
    config = model.config
    return Schedule(
        adam_steps, config.rate_start, config.rate_end, config.beta1, config.beta2,
        newton_steps, config.damping, model.length, config.rotation_limit, config.translation_limit,
        config.tolerance,
    )  # fmt: skip


def checked_translation(values: npt.ArrayLike | None) -> Array:
    """The translation (3,), object units. Raises NemoError for one that is none or behind."""
    t = np.array(values, dtype=np.float64)
    if t.shape != (3,) or not np.isfinite(t).all() or np.abs(t).max() > _FARTHEST or t[2] <= 0:
        raise NemoError(f"translation: {t.tolist()} must be (3,), finite, in front of the camera")
    return t


def checked_rotation(values: npt.ArrayLike) -> Array:
    """The rotation (3, 3), orthonormal to the last digits. Raises NemoError for no rotation."""
    R = np.array(values, dtype=np.float64, order="C")
    if R.shape != (3, 3) or not np.abs(R @ R.T - np.eye(3)).max() < 1e-3 or np.linalg.det(R) < 0:
        raise NemoError("rotation: R0 must be a rotation matrix (3, 3)")
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-9:  # rounded on its way: steps keep what they get
        u, _, vt = np.linalg.svd(R)
        R = np.ascontiguousarray(u @ vt)
    return R
