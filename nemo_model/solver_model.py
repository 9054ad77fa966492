# SPDX-License-Identifier: Apache-2.0
"""The solver's knobs, and a category with all the tables that the solver computes once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh, mean_outline
from nemo_model.objective import Workspace, workspace
from nemo_model.patches import Patches, make_patches
from nemo_model.search import rotation_grid
from nemo_model.tables import FaceTable, face_table

Array = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SolverConfig:
    """All knobs of the solver. Angles in degrees, lengths in map cells unless said otherwise.

    Attributes:
        background: "max": the best clutter prototype explains a hidden cell; "mean": the mean one.
        azimuths: steps of the search grid around the object.
        elevations_deg: of the search grid.
        in_plane_deg: of the search grid.
        patches: of the mesh, for the search.
        distance_factors: tried on the distance that the box gives.
        shifts: (right, down) in whole cells, tried around the place that the box gives.
        starts: poses that are climbed from; 1 switches the second mode off.
        apart_deg: starts lie at least so far apart.
        finalists: best climbs that are climbed longer.
        start_adam_steps, start_newton_steps: of the first climb.
        final_adam_steps, final_newton_steps: of the second climb.
        given_start_adam_steps, given_final_adam_steps: the same where the place is given; three
            unknowns need fewer steps (chosen on photos of train-tune, L0 to L3).
        warm_adam_steps, warm_newton_steps, warm_rate_start, warm_damping: of a warm start; Adam
            widens the basin from about 15 to about 30 degrees, and its first steps are shorter than
            a cold start's.
        warm_twin: warm starts also climb from the pose turned by 180 degrees about the object's z
            axis and report it as the second mode (0 margin where switched off).
        twin_adam_steps, twin_newton_steps: of that climb.
        blend: the cold pose is the mean of the climbs that ended near the best, each weighing
            exp(-(what it lacks in E) / blend); 0 takes the best one.
        blend_deg: how near.
        rate_start, rate_end: Adam's step lengths (radians; shares of half the object's size).
        beta1, beta2: Adam's averages.
        damping: share of the Hessian's diagonal added in Gauss-Newton.
        rotation_limit, translation_limit: longest Gauss-Newton step (same units).
        tolerance: Gauss-Newton stops when both parts of a step are shorter (same units).
        box_weight: pull of the detector's box in units of E, as a share of the cells in the box;
            0 switches it off.
        box_sigma: width of the box term for sides, as a share of the box's mean side.
        centre_weight: pull of the box's centre as a share of a side's; 0 switches it off.
        centre_sigma: width of the box term for the centre, as a share of the box's width (height).
        viewpoint_weight: of the viewpoint prior's log probability in units of E, as a share of the
            cells in the box; 0 switches it off.
        second_apart_deg: a mode is a second one when its rotation differs by at least so much.
    """

    background: str = "max"
    azimuths: int = 24
    elevations_deg: tuple[float, ...] = (-10.0, 10.0, 30.0, 50.0)
    in_plane_deg: tuple[float, ...] = (-15.0, 0.0, 15.0)
    patches: int = 150
    distance_factors: tuple[float, ...] = (0.87, 1.0, 1.15)
    shifts: tuple[tuple[int, int], ...] = (
        (0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (0, -2), (0, 2),
    )  # fmt: skip
    starts: int = 6
    apart_deg: float = 25.0
    finalists: int = 3
    start_adam_steps: int = 12
    start_newton_steps: int = 2
    final_adam_steps: int = 10
    final_newton_steps: int = 6
    given_start_adam_steps: int = 10
    given_final_adam_steps: int = 8
    warm_adam_steps: int = 10
    warm_newton_steps: int = 8
    warm_rate_start: float = 0.05
    warm_damping: float = 0.02
    warm_twin: bool = True
    twin_adam_steps: int = 4
    twin_newton_steps: int = 2
    blend: float = 4.0
    blend_deg: float = 15.0
    rate_start: float = 0.1
    rate_end: float = 0.01
    beta1: float = 0.8
    beta2: float = 0.95
    damping: float = 0.05
    rotation_limit: float = 0.3
    translation_limit: float = 0.15
    tolerance: float = 1e-4
    box_weight: float = 0.1  # these four tuned on real photos (train-tune, L0 to L3)
    box_sigma: float = 0.2
    centre_weight: float = 1.0
    centre_sigma: float = 0.1
    viewpoint_weight: float = 0.03
    second_apart_deg: float = 25.0

    def __post_init__(self) -> None:
        if self.background not in ("max", "mean"):
            raise ValueError(f"solver config: background is {self.background!r}, not max or mean")
        for name in ("azimuths", "patches", "starts", "finalists"):
            if getattr(self, name) < 1:
                raise ValueError(f"solver config: {name} must be at least 1")
        for name in ("elevations_deg", "in_plane_deg", "distance_factors", "shifts"):
            if not len(getattr(self, name)):
                raise ValueError(f"solver config: {name} is empty")
        if min(self.distance_factors) <= 0.0:
            raise ValueError("solver config: distance_factors must be positive")


@dataclass(frozen=True)
class Buffers:
    """Scratch of one map size, reused between solves (one thread at a time)."""

    work: Workspace
    background: F32
    pad: int
    shifts: npt.NDArray[np.int32]
    transposed: F32
    rows: F32
    lookup: F32
    scores: Array
    translations: Array


@dataclass(frozen=True)
class SolverModel:
    """A category for the solver: mesh, features and all that is computed from them once.

    Build it with `SolverModel.build`.

    Attributes:
        table: the mesh with its features (V, C).
        clutter: (M, C) float32 background prototypes.
        outline: (3, P) float32 points whose bounding box a detector's box is.
        patches: of the search.
        rotations, views: (G, 3, 3), (G,) the search grid.
        buffers: scratch per map size, made when first needed.
        length: half of the mesh's diagonal, the unit of shifts.
        config: the knobs that the tables were built for.
    """

    table: FaceTable
    clutter: F32
    outline: F32
    patches: Patches
    rotations: Array
    views: npt.NDArray[np.int32]
    length: float
    config: SolverConfig
    buffers: dict[tuple[int, int], Buffers] = field(default_factory=dict, repr=False)

    @staticmethod
    def build(
        mesh: Mesh,
        features: npt.ArrayLike,
        clutter: npt.ArrayLike,
        outline: npt.ArrayLike | None = None,
        config: SolverConfig | None = None,
    ) -> SolverModel:
        """Precompute a category's tables.

        Args:
            mesh: any mesh; a convex one is drawn faster, a cuboid of regular grids faster still.
            features: (V, C) unit vertex features.
            clutter: (M, C) unit background features; M may be 0.
            outline: (P, 3) points whose projection's bounding box a detector gives; the mesh's
                own outermost vertices when None.
            config: the defaults when None.

        Raises:
            ValueError: for shapes that do not fit or values that are not finite.
        """
        config = config or SolverConfig()
        table = face_table(mesh, features)
        channels = table.features.shape[1]
        prototypes = np.ascontiguousarray(clutter, dtype=np.float32).reshape(-1, channels)
        points = np.asarray(mean_outline([mesh]) if outline is None else outline, dtype=np.float32)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise ValueError(f"outline: shape {points.shape} must be (P, 3) with P > 0")
        if not (np.isfinite(prototypes).all() and np.isfinite(points).all()):
            raise ValueError("clutter and outline must be finite")
        rotations, views = rotation_grid(
            config.azimuths, config.elevations_deg, config.in_plane_deg
        )
        level = rotations[:: len(config.in_plane_deg)]
        return SolverModel(
            table=table,
            clutter=prototypes,
            outline=np.ascontiguousarray(np.unique(points, axis=0).T),
            patches=make_patches(table, config.patches, level),
            rotations=rotations,
            views=views,
            length=0.5 * float(np.linalg.norm(mesh.extent)),
            config=config,
        )


def buffers_of(model: SolverModel, height: int, width: int) -> Buffers:
    found = model.buffers.get((height, width))
    if found is None:
        cells = height * width
        shifts = np.array(model.config.shifts, dtype=np.int32).reshape(-1, 2)
        pad = 2 * (int(np.abs(shifts).max()) + 1)
        grid = len(model.rotations)
        padded = (height + 2 * pad) * (width + 2 * pad)
        found = Buffers(
            work=workspace(model.table, cells),
            background=np.zeros(cells, dtype=np.float32),
            pad=pad,
            shifts=shifts,
            transposed=np.zeros((model.table.features.shape[1], cells), dtype=np.float32),
            rows=np.zeros((4, cells), dtype=np.float32),
            lookup=np.zeros((len(model.patches.features), padded), dtype=np.float32),
            scores=np.zeros(grid),
            translations=np.zeros((grid, 3)),
        )
        model.buffers[(height, width)] = found
    return found
