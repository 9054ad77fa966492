# SPDX-License-Identifier: Apache-2.0
"""Poses drawn onto the image: cuboid, front face, what is seen of the object and what is hidden.

Every `Estimate` carries the crop camera it was made with, so nothing else is needed to project:
an object point X goes to the image by H_crop_image^-1 K_crop R_crop_cam (T_cam_obj X).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nemo_model.camera import FIRST_CELL, STRIDE

if TYPE_CHECKING:
    from nemo_model.camera import Camera
    from nemo_model.estimator import Estimate
    from nemo_model.tracker import Track

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Colour = tuple[int, int, int]

VISIBLE: Colour = (40, 220, 90)
HIDDEN: Colour = (255, 96, 24)
EDGE: Colour = (235, 240, 245)
FRONT: Colour = (0, 200, 255)
AXES: tuple[Colour, Colour, Colour] = ((255, 60, 60), (60, 230, 60), (80, 120, 255))
TRUTH: Colour = (255, 60, 220)
INK: Colour = (20, 22, 26)
NEAR = 0.05
"""Points nearer to the camera than this, in metres, are cut off before projection."""

_STATES = {"tentative": "new? ", "occluded": "occluded "}
"""Put before the score; the usual state needs no word, and a lost object is not drawn."""

# corner i of a cuboid: bit 0 is x, bit 1 is y, bit 2 is z; an edge joins two that differ in one bit
_EDGES = [(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit]
_FACES = {  # corners in order around the face, by outward direction
    (0, -1): (0, 2, 6, 4),
    (0, 1): (1, 3, 7, 5),
    (1, -1): (0, 1, 5, 4),
    (1, 1): (2, 3, 7, 6),
    (2, -1): (0, 1, 3, 2),
    (2, 1): (4, 5, 7, 6),
}
_FRONT_FACE = _FACES[(1, -1)]


def draw(image: Image, tracks: Sequence[Track]) -> Image:
    """A copy of the image (H, W, 3) uint8 RGB with the tracks drawn, the farthest first."""
    canvas = image.copy()
    order = sorted(tracks, key=lambda track: -float(track.estimate.T_cam_obj[2, 3]))
    for track in order:
        if not track.predicted:  # its cells belong to an earlier frame
            _tint(canvas, track.estimate)
    for track in order:
        _wire_frame(canvas, track.estimate)
    for track in order:
        _label(canvas, track)
    return canvas


def draw_estimate(image: Image, estimate: Estimate) -> Image:
    """A copy of the image (H, W, 3) uint8 RGB with one estimate's cells and cuboid, unlabelled."""
    canvas = image.copy()
    _tint(canvas, estimate)
    _wire_frame(canvas, estimate)
    return canvas


def draw_cuboid(
    image: Image, camera: Camera, T_cam_obj: Floats, size: Floats, colour: Colour = TRUTH
) -> Image:
    """A copy of the image with a plain cuboid, e.g. of the ground truth, its front face crossed."""
    canvas = image.copy()
    points = corners(size) @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
    a, b, c, d = _FRONT_FACE
    for i, j in [*_EDGES, (a, c), (b, d)]:
        ends = _cut(points[i], points[j])
        if ends is not None:
            _line(canvas, camera.project(ends), colour, _thickness(canvas.shape[0]), dim=True)
    return canvas


def corners(size: Floats) -> Floats:
    """Corners (8, 3) of a cuboid of this size (3,) about the object's origin; see `_EDGES`."""
    half = np.asarray(size, dtype=np.float64) / 2
    signs = np.array([[1 if i & bit else -1 for bit in (1, 2, 4)] for i in range(8)])
    return np.asarray(signs * half)


def project(estimate: Estimate, points: Floats) -> Floats:
    """Object points (N, 3) in metres to image pixels (N, 2). Points must be before the camera."""
    T = estimate.T_cam_obj
    return _to_image(estimate, points @ T[:3, :3].T + T[:3, 3])


def _to_image(estimate: Estimate, in_camera: Floats) -> Floats:
    crop = estimate.crop
    P = np.linalg.solve(crop.H_crop_image, crop.K @ crop.R_crop_cam)
    uvw = in_camera @ P.T
    return np.asarray(uvw[:, :2] / uvw[:, 2:])


def _cut(a: Floats, b: Floats) -> Floats | None:
    """Ends (2, 3) of the segment between two camera points, cut at NEAR; None: it lies behind."""
    if a[2] < NEAR and b[2] < NEAR:
        return None
    if a[2] < NEAR or b[2] < NEAR:
        share = (NEAR - a[2]) / (b[2] - a[2])
        cut = a + share * (b - a)
        a, b = (cut, b) if a[2] < NEAR else (a, cut)
    return np.stack([a, b])


def _segment(estimate: Estimate, a: Floats, b: Floats) -> Floats | None:
    """Image ends (2, 2) of the segment between two camera points; None: it lies behind."""
    ends = _cut(a, b)
    return None if ends is None else _to_image(estimate, ends)


def _tint(canvas: Image, estimate: Estimate) -> None:
    """Colour the cells that the object covers: seen green, hidden orange with hatching."""
    occlusion = estimate.occlusion
    rows, columns = np.nonzero(occlusion >= 0)
    if rows.size == 0:
        return
    # cell (i, j) is centred on crop pixel (STRIDE j + FIRST_CELL, STRIDE i + FIRST_CELL)
    crop_cell = np.array([[STRIDE, 0, FIRST_CELL], [0, STRIDE, FIRST_CELL], [0, 0, 1]], float)
    H_image_cell = np.linalg.inv(estimate.crop.H_crop_image) @ crop_cell
    x1, x2 = columns.min() - 1.0, columns.max() + 1.0
    y1, y2 = rows.min() - 1.0, rows.max() + 1.0
    ends = np.array([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]])
    box = _inside(cv2.perspectiveTransform(ends, H_image_cell)[0], canvas)
    if box is None:
        return
    left, top, right, bottom = box
    region = canvas[top:bottom, left:right]
    to_region = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], float)
    cells = np.stack([occlusion == 1, occlusion == 0], axis=2).astype(np.float32)
    size = (right - left, bottom - top)
    shares = cv2.warpPerspective(cells, to_region @ H_image_cell, size, flags=cv2.INTER_LINEAR)
    seen, unseen = shares[:, :, 0], shares[:, :, 1]
    covered = seen + unseen > 0.5
    hidden = covered & (unseen > seen)
    visible = covered & ~hidden
    pitch = max(8, round(canvas.shape[0] / 60))
    diagonal = np.arange(top, bottom)[:, None] + np.arange(left, right)[None]
    hatch = hidden & (diagonal % pitch < max(2, pitch // 4))
    for mask, colour, alpha in (
        (visible, VISIBLE, 0.28),
        (hidden, HIDDEN, 0.40),
        (hatch, HIDDEN, 0.6),
    ):
        _blend(region, mask.astype(np.uint8), colour, alpha)
    thickness = max(1, _thickness(canvas.shape[0]) - 1)
    for mask, colour in ((visible, VISIBLE), (hidden, HIDDEN)):
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        cv2.drawContours(region, outlines, -1, colour, thickness, cv2.LINE_AA)


def _inside(points: Floats, canvas: Image) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (exclusive) of the points' part of the canvas; None when empty."""
    height, width = canvas.shape[:2]
    left, top = (int(v) for v in np.maximum(np.floor(points.min(0)), 0))
    right, bottom = (int(v) for v in np.minimum(np.ceil(points.max(0)) + 1, (width, height)))
    return (left, top, right, bottom) if right > left and bottom > top else None


def _blend(region: Image, mask: NDArray[np.uint8], colour: Colour, alpha: float) -> None:
    """Mix a colour into the region (a view of the canvas) where the mask is not zero."""
    mixed = cv2.addWeighted(region, 1 - alpha, np.full_like(region, colour), alpha, 0)
    cv2.copyTo(mixed, mask, region)


def _wire_frame(canvas: Image, estimate: Estimate) -> None:
    """Cuboid edges (those behind it thin), the front face filled and crossed, and the axes."""
    T = estimate.T_cam_obj
    points = corners(estimate.size) @ T[:3, :3].T + T[:3, 3]
    towards = T[:3, :3].T @ -T[:3, 3]  # camera centre in the object frame
    half = np.asarray(estimate.size) / 2
    facing = {
        face: bool(sign * towards[axis] > half[axis]) for (axis, sign), face in _FACES.items()
    }
    scale = _thickness(canvas.shape[0])
    near_edges = {
        frozenset((face[k], face[(k + 1) % 4])) for face in facing if facing[face] for k in range(4)
    }
    front_seen = facing[_FRONT_FACE]
    if (points[list(_FRONT_FACE), 2] > NEAR).all():
        _fill(canvas, _to_image(estimate, points[list(_FRONT_FACE)]), 0.30 if front_seen else 0.12)
    front_edges = {frozenset((_FRONT_FACE[k], _FRONT_FACE[(k + 1) % 4])) for k in range(4)}
    for behind in (True, False):
        for i, j in _EDGES:
            edge = frozenset((i, j))
            if (edge not in near_edges) is not behind:
                continue
            ends = _segment(estimate, points[i], points[j])
            colour = FRONT if edge in front_edges else EDGE
            _line(canvas, ends, colour, max(1, scale - 1) if behind else scale, dim=behind)
    diagonals = ((0, 2), (1, 3)) if front_seen else ()
    for k, m in diagonals:
        ends = _segment(estimate, points[_FRONT_FACE[k]], points[_FRONT_FACE[m]])
        _line(canvas, ends, FRONT, max(1, scale - 1), dim=True)
    length = 0.4 * float(np.min(estimate.size))
    for axis in range(3):
        tip = T[:3, 3] + T[:3, axis] * length
        _line(canvas, _segment(estimate, T[:3, 3], tip), AXES[axis], scale + 1)


def _fill(canvas: Image, quad: Floats, alpha: float) -> None:
    """Shade the front face, given by its four image points (4, 2)."""
    box = _inside(quad, canvas)
    if box is None or _fixed(quad, canvas) is None:
        return
    left, top, right, bottom = box
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillConvexPoly(mask, np.round(quad - (left, top)).astype(np.int32), 1)
    _blend(canvas[top:bottom, left:right], mask, FRONT, alpha)


def _label(canvas: Image, track: Track) -> None:
    """One line above the object (or inside the image, if there is no room above)."""
    estimate = track.estimate
    distance = float(np.linalg.norm(estimate.T_cam_obj[:3, 3]))
    name = track.id if track.id.startswith(estimate.category) else f"{estimate.category} {track.id}"
    text = (
        f"{name}  {_STATES.get(str(track.state), '')}{100 * estimate.score:.0f}%  {distance:.1f} m"
    )
    if track.predicted:
        text += "  predicted"
    if estimate.visible_fraction < 0.995:
        text += f"  seen {100 * estimate.visible_fraction:.0f}%"
    height, width = canvas.shape[:2]
    size = max(0.36, height / 1500)
    thickness = max(1, round(height / 720))
    (text_width, text_height), base = cv2.getTextSize(
        text, cv2.FONT_HERSHEY_DUPLEX, size, thickness
    )
    pad = max(3, round(height / 180))
    x = int(min(max(_box(track)[0], 0), max(width - text_width - 2 * pad, 0)))
    bottom = int(min(max(_top(track), text_height + base + 2 * pad), height - 1))
    top = bottom - text_height - base - 2 * pad
    plate = canvas[top:bottom, x : x + text_width + 2 * pad]
    plate[:] = (plate * 0.25 + np.array(INK) * 0.75).astype(np.uint8)
    accent = VISIBLE if estimate.score >= 0.5 and str(track.state) == "tracking" else HIDDEN
    cv2.rectangle(canvas, (x, top), (x + max(2, pad // 2), bottom - 1), accent, cv2.FILLED)
    origin = (x + pad + max(2, pad // 2), bottom - pad - base // 2)
    cv2.putText(
        canvas, text, origin, cv2.FONT_HERSHEY_DUPLEX, size, (255, 255, 255), thickness, cv2.LINE_AA
    )


def _top(track: Track) -> float:
    """Where the label's plate ends: just above the projected cuboid, or the box."""
    estimate = track.estimate
    T = estimate.T_cam_obj
    points = corners(estimate.size) @ T[:3, :3].T + T[:3, 3]
    if (points[:, 2] > NEAR).all():
        return float(_to_image(estimate, points)[:, 1].min()) - 6
    return _box(track)[1] - 6


def _box(track: Track) -> tuple[float, float, float, float]:
    return track.box if track.detection is None else track.detection.box


def _thickness(height: int) -> int:
    return max(1, round(height / 360))


def _fixed(points: Floats, canvas: Image) -> NDArray[np.int32] | None:
    """Pixels (N, 2) in OpenCV's fixed point with 4 fractional bits; None when far outside."""
    if not np.isfinite(points).all() or np.abs(points).max() > 20 * max(canvas.shape):
        return None
    return np.round(points * 16).astype(np.int32)


def _line(
    canvas: Image, ends: Floats | None, colour: Colour, thickness: int, dim: bool = False
) -> None:
    """A line with a dark rim, so that it stands out on any background; `dim`: without it."""
    fixed = None if ends is None else _fixed(ends, canvas)
    if fixed is None or not math.isfinite(float(fixed.sum())):
        return
    a, b = (int(fixed[0, 0]), int(fixed[0, 1])), (int(fixed[1, 0]), int(fixed[1, 1]))
    if not dim:
        cv2.line(canvas, a, b, INK, thickness + 2, cv2.LINE_AA, 4)
    else:
        colour = (int(colour[0] * 0.75), int(colour[1] * 0.75), int(colour[2] * 0.75))
    cv2.line(canvas, a, b, colour, thickness, cv2.LINE_AA, 4)
