# SPDX-License-Identifier: Apache-2.0
"""The paper's search: the best of 144 views, then 300 steps of Adam on the view and the distance.

Wang, Kortylewski and Yuille, NeMo, ICLR 2021, section 3.3, with the numbers of its public code:
12 azimuths x 4 elevations x 3 in-plane rotations, Adam with rate 0.05 and betas (0.4, 0.6) on
azimuth, elevation, in-plane rotation and distance. Its answer is the last step's pose.

With a translation given ("paper") its direction is held and its length is the first distance.
Without one ("robot"), for which the paper has nothing, each view begins where the detector's box
puts it, and Adam also moves the object sideways (object units, same rate). The box term of
nemo_model.refine is not part of the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nemo_model.boxfit import translation_from_box
from nemo_model.objective import NEAR, background
from nemo_model.pose import rotation_from_angles
from nemo_model.reference.objective import energy, evaluate
from nemo_model.reference.render import Draw, TorchScene, torch_fragments, torch_scene
from nemo_model.solver import Solution
from nemo_model.solver_model import SolverModel

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """The paper's numbers; angles in degrees, rate in radians and object units.

    free_distance: False holds a given translation's distance, as nemo_model.solver does.
    """

    azimuths: int = 12
    elevations_deg: tuple[float, ...] = (-30.0, 0.0, 30.0, 60.0)
    in_plane_deg: tuple[float, ...] = (-30.0, 0.0, 30.0)
    steps: int = 300
    rate: float = 0.05
    betas: tuple[float, float] = (0.4, 0.6)
    free_distance: bool = True


PAPER = Schedule()


def solve(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    box_map: npt.ArrayLike,
    given_t: npt.ArrayLike | None = None,
    reliable: tuple[bool, bool, bool, bool] = (True, True, True, True),
    viewpoint: object = None,
    *,
    draw: Draw = torch_fragments,
    schedule: Schedule = PAPER,
) -> Solution:
    """Find the pose as the paper does; arguments and result as of nemo_model.solver.solve_cold.

    The second mode is the best start far from the pose, not climbed from. The paper has no prior of
    the viewpoint: `viewpoint` is left unused.
    """
    scene = scene_of(model, features, K_map)
    angles = start_angles(schedule)
    rotations = np.array([rotation_from_angles(*row) for row in angles])
    if given_t is None:
        K, points = np.asarray(K_map, dtype=np.float64), model.outline.T
        places = np.array(
            [translation_from_box(points, R, K, box_map, reliable) for R in rotations]
        )
    else:
        places = np.repeat(np.asarray(given_t, dtype=np.float64)[None], len(rotations), axis=0)
    scores = score(scene, rotations, places, draw)
    best = int(np.argmax(scores))
    R, t = climb(scene, angles[best], places[best], given_t is None, draw, schedule)
    found = evaluate(scene, R, t, draw)
    cosine = 0.5 * (np.einsum("nij,ij->n", rotations, R) - 1.0)
    away = np.flatnonzero(cosine < math.cos(math.radians(model.config.second_apart_deg)))
    second = int(away[int(np.argmax(scores[away]))])
    margin = found.energy - float(scores[second])
    covered = int((found.state >= 0).sum())
    return Solution(
        R=R,
        t=t,
        energy=found.energy,
        margin=margin,
        relative_margin=min(max(margin / max(found.energy, scores[second], 1e-9), -1.0), 1.0),
        second_R=rotations[second],
        second_t=places[second],
        second_energy=float(scores[second]),
        visible_fraction=int((found.state == 1).sum()) / covered if covered else 0.0,
        occlusion=found.state,
        hessian=found.hessian,
        evaluations=len(rotations) + schedule.steps + 1,
    )


def scene_of(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    dtype: torch.dtype = torch.float32,
) -> TorchScene:
    """The scene of a category and a feature map (h, w, C), with the solver's own background."""
    grid = np.ascontiguousarray(features, dtype=np.float32)
    flat = grid.reshape(-1, grid.shape[2])
    clutter = np.zeros(len(flat), dtype=np.float32)
    background(flat, model.clutter, model.config.background == "mean", clutter)
    table = model.table
    return torch_scene(table.vertices.T, table.faces.T, table.features, grid, clutter, K_map, dtype)


def start_angles(schedule: Schedule) -> Array:
    """Azimuth, elevation and in-plane rotation (n, 3) of the starts, radians."""
    azimuths = np.arange(schedule.azimuths) * (2.0 * np.pi / schedule.azimuths)
    elevations, turns = np.radians(schedule.elevations_deg), np.radians(schedule.in_plane_deg)
    return np.array(list(product(azimuths, elevations, turns)))


def score(scene: TorchScene, rotations: Array, places: Array, draw: Draw) -> Array:
    """E (n,) at rotations (n, 3, 3) and translations (n, 3)."""
    dtype = scene.vertices.dtype
    scores = []
    with torch.no_grad():
        for R, t in zip(rotations, places, strict=True):
            points = scene.vertices @ torch.tensor(R.T, dtype=dtype) + torch.tensor(t, dtype=dtype)
            scores.append(float(energy(scene, points, draw)))
    return np.array(scores)


def climb(
    scene: TorchScene, angles: Array, t: Array, sideways: bool, draw: Draw, schedule: Schedule
) -> tuple[Array, Array]:
    """Return the pose (R, t) after Adam from angles (3,) and a translation (3,)."""
    dtype = scene.vertices.dtype
    ray = torch.tensor(t / t[2], dtype=dtype)
    view = torch.tensor(angles, dtype=dtype, requires_grad=True)
    distance = torch.tensor(t[2], dtype=dtype, requires_grad=schedule.free_distance)
    shift = torch.zeros(2, dtype=dtype, requires_grad=sideways)
    moving = [part for part in (view, distance, shift) if part.requires_grad]
    adam = torch.optim.Adam(moving, lr=schedule.rate, betas=schedule.betas)

    def pose() -> tuple[Tensor, Tensor]:
        place = ray * distance.clamp(min=10.0 * NEAR)
        return rotation(view), torch.cat([place[:2] + shift, place[2:]])

    for _ in range(schedule.steps):
        adam.zero_grad()
        R, place = pose()
        (-energy(scene, scene.vertices @ R.T + place, draw)).backward()
        adam.step()
    with torch.no_grad():
        R, place = pose()
        # in float64 once more: the caller wants an orthonormal matrix
        exact = rotation_from_angles(*view.double().tolist())
        return exact, place.double().numpy()


def rotation(view: Tensor) -> Tensor:
    """R_cam_obj (3, 3) of (azimuth, elevation, theta); see pose.rotation_from_angles."""
    (sa, se, st), (ca, ce, ct) = torch.sin(view), torch.cos(view)
    return torch.stack([
        ca * ct + sa * se * st, sa * ct - ca * se * st, -ce * st,
        -ca * st + sa * se * ct, -sa * st - ca * se * ct, -ce * ct,
        -sa * ce, ca * ce, -se,
    ]).reshape(3, 3)  # fmt: skip
