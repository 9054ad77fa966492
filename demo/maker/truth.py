# SPDX-License-Identifier: Apache-2.0
"""Ground truth by z-buffer: pose, amodal box and hidden share of every object in every frame."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maker import timeline
from maker.timeline import Timeline
from nemo_model.raster import rasterize

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What is true of one object in one frame.

    Attributes:
        frame: index.
        stamp_ns: of the image.
        track_id: of the object.
        category: of the object.
        T_cam_obj: (4, 4), object -> camera, metres.
        size: extents (3,) of the object's bounding box in its own frame, metres.
        box: amodal (x1, y1, x2, y2) of the object's mesh, pixels, not cut at the image's edge.
        hidden: share in [0, 1] of the silhouette, inside the image, that something covers.
        cut: share in [0, 1] of the amodal box outside the image.
    """

    frame: int
    stamp_ns: int
    track_id: str
    category: str
    T_cam_obj: Array
    size: Array
    box: Array
    hidden: float
    cut: float


def _move(points: Array, T: Array) -> Array:
    return points @ T[:3, :3].T + T[:3, 3]


def _cut(box: Array) -> float:
    lo = np.maximum(box[:2], -0.5)
    hi = np.minimum(box[2:], [timeline.WIDTH - 0.5, timeline.HEIGHT - 0.5])
    inside = np.prod(np.maximum(hi - lo, 0.0))
    return float(1.0 - inside / np.prod(box[2:] - box[:2]))


def compute(
    geometry: Path, plan: Timeline, frames: list[int] | None = None, shrink: int = 2
) -> list[Truth]:
    """Compute the ground truth of all frames.

    Args:
        plan: of the recording.
        geometry: the .npz that render.dump_geometry wrote.
        frames: indices, all of the timeline when None.
        shrink: the hidden share is counted on an image this many times smaller.
    """
    data = dict(np.load(geometry))
    K = timeline.intrinsics()
    small = np.diag([1.0 / shrink, 1.0 / shrink, 1.0]) @ K
    small[:2, 2] -= (1.0 - 1.0 / shrink) / 2.0
    w, h = timeline.WIDTH // shrink, timeline.HEIGHT // shrink
    labels = [k.removeprefix("points_") for k in data if k.startswith("points_")]
    truths = []
    for frame in range(plan.frames) if frames is None else frames:
        T_cam_world = plan.T_cam_world(frame)
        points = {k: _move(data[f"points_{k}"], T_cam_world) for k in labels}
        depth = {k: rasterize(points[k], data[f"faces_{k}"], small, w, h)[2] for k in labels}
        for placement in plan.placements:
            label = f"object_{placement.track_id}"
            size = data[f"size_{placement.track_id}"]
            uvw = points[label] @ K.T
            uv = uvw[:, :2] / uvw[:, 2:]
            own = np.isfinite(depth[label])
            others = np.min([depth[k] for k in labels if k != label], axis=0)
            hidden = (own & (others < depth[label])).sum() / max(own.sum(), 1)
            box = np.concatenate([uv.min(0), uv.max(0)])
            truths.append(
                Truth(
                    frame=frame,
                    stamp_ns=timeline.stamp_ns(frame),
                    track_id=placement.track_id,
                    category=placement.category,
                    T_cam_obj=T_cam_world @ timeline.T_world_obj(placement, float(size[2])),
                    size=size,
                    box=box,
                    hidden=float(hidden),
                    cut=_cut(box),
                )
            )
    return truths


FIELDS = ("frame", "stamp_ns", "id", "hidden", "cut", "azimuth_deg", "distance_m",
          "x1", "y1", "x2", "y2")  # fmt: skip


def write_csv(truths: list[Truth], path: Path) -> None:
    """Write one line per object and frame: hidden share, azimuth, distance, true amodal box."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for t in truths:
            eye = -t.T_cam_obj[:3, :3].T @ t.T_cam_obj[:3, 3]
            azimuth = np.degrees(np.arctan2(eye[0], -eye[1]))
            writer.writerow(
                [t.frame, t.stamp_ns, t.track_id, f"{t.hidden:.4f}", f"{t.cut:.4f}",
                 f"{azimuth:.2f}", f"{np.linalg.norm(eye):.3f}", *(f"{v:.2f}" for v in t.box)]
            )  # fmt: skip
