# SPDX-License-Identifier: Apache-2.0
"""Pictures of estimates with what is seen and what is hidden, as in the paper's figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from nemo_model.camera import Camera
from nemo_model.comparison.data import Part, at_hand
from nemo_model.comparison.plan import Plan
from nemo_model.comparison.runner import Outcome, Parts, load_model
from nemo_model.datasets.common import subset
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate
from nemo_model.evaluation.evaluate import PoseEstimator, given_of
from nemo_model.evaluation.samples import Sample
from nemo_model.overlay import draw_cuboid, draw_estimate

TILE = (320, 240)
"""Width and height of a picture, pixels."""
ZOOM = 3.0
"""Pictures are enlarged by at most this before they are drawn on."""
BORDER = 4


def make_examples(plan: Plan, outcome: Outcome, parts: Parts, threads: int) -> dict[str, bytes]:
    """One PNG per NeMo row and category: an object per line, a column of the table per column.

    Objects are drawn by limit_seed among those that every column with the same views has. Rows
    without a trained model, and systems whose estimates have no occlusion map, give none.
    """
    config = plan.config
    found: dict[str, bytes] = {}
    if not config.examples:
        return found
    for row in plan.rows:
        run = plan.run(row, config.seeds[0])
        trained = outcome.trained.get(run)
        if trained is None or not row.system.startswith("nemo"):
            continue
        for category in config.categories:
            if not all(at_hand(config, parts.store, category, each) for each in plan.columns):
                continue
            columns = [parts.get(category, column) for column in plan.columns]
            estimator = load_model(run, trained, category, threads)
            sheet = _sheet(plan, estimator, columns)
            if sheet is not None:
                flag = "with" if row.occluders else "without"
                name = f"examples-{row.system}-{flag}-occluders-{category}.png"
                found[name] = cv2.imencode(".png", sheet[:, :, ::-1])[1].tobytes()
    return found


def _sheet(plan: Plan, estimator: PoseEstimator, parts: list[Part]) -> np.ndarray | None:
    chosen = _chosen(plan, parts)
    protocol = plan.config.protocols[0]
    lines, mapped = [], False
    for k in range(plan.config.examples):
        tiles = []
        for part, samples in zip(parts, chosen, strict=True):
            sample = samples[k] if k < len(samples) else None
            tile, covered = _tile(estimator, sample, protocol)
            mapped |= covered
            tiles.append(_titled(tile, part.column.name))
        lines.append(np.hstack(tiles))
    return np.vstack(lines) if mapped else None


def _chosen(plan: Plan, parts: list[Part]) -> list[list[Sample]]:
    """The objects shown, per column: the same ones where the columns share their views."""
    config = plan.config
    if len({part.column.views for part in parts}) > 1:
        return [subset(part.samples, config.examples, config.limit_seed) for part in parts]
    shared = set.intersection(*({(s.name, s.index) for s in part.samples} for part in parts))
    first = [s for s in parts[0].samples if (s.name, s.index) in shared]
    if not first:
        return [[] for _ in parts]
    names = [(s.name, s.index) for s in subset(first, config.examples, config.limit_seed)]
    by_name = [{(s.name, s.index): s for s in part.samples} for part in parts]
    return [[samples[name] for name in names] for samples in by_name]


def _tile(
    estimator: PoseEstimator, sample: Sample | None, protocol: str
) -> tuple[np.ndarray, bool]:
    """A picture (H, W, 3), and whether the estimate had an occlusion map."""
    width, height = TILE
    if sample is None:
        return np.full((height, width, 3), 255, np.uint8), False
    image = sample.read_image()
    zoom = min(width / image.shape[1], height / image.shape[0], ZOOM)
    size = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    canvas: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else
                             cv2.INTER_CUBIC)  # fmt: skip
    covered = False
    try:
        given = given_of(estimator, sample, protocol)
        estimate = estimator.estimate(image, sample.K, sample.box, given=given)
    except NemoError:
        estimate = None
    scale = _scaling(zoom)
    if estimate is not None and estimate.occlusion is not None:
        covered = bool((estimate.occlusion >= 0).any())
        canvas = draw_estimate(canvas, _enlarged(estimate, scale))
    truth = sample.T_cam_obj.copy()
    truth[:3, 3] *= 1.0 if sample.metric else estimator.metres_per_unit
    extent = estimator.mesh.extent * estimator.metres_per_unit
    camera = Camera(scale @ sample.K, canvas.shape[1], canvas.shape[0])
    canvas = draw_cuboid(canvas, camera, truth, extent)
    tile = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - canvas.shape[0]) // 2, (width - canvas.shape[1]) // 2
    tile[top : top + canvas.shape[0], left : left + canvas.shape[1]] = canvas
    return tile, covered


def _scaling(zoom: float) -> np.ndarray:
    """(3, 3): pixels of an image -> pixels of its enlargement, centres to centres."""
    shift = (zoom - 1) / 2
    return np.array([[zoom, 0.0, shift], [0.0, zoom, shift], [0.0, 0.0, 1.0]])


def _enlarged(estimate: Estimate, scale: np.ndarray) -> Estimate:
    """The estimate as if it had been made on the enlarged image."""
    H = estimate.crop.H_crop_image @ np.linalg.inv(scale)
    return replace(estimate, crop=replace(estimate.crop, H_crop_image=H))


def _titled(tile: np.ndarray, text: str) -> np.ndarray:
    framed = cv2.copyMakeBorder(
        tile, 22, BORDER, BORDER, BORDER, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    cv2.putText(framed, text, (BORDER + 2, 16), cv2.FONT_HERSHEY_DUPLEX, 0.45, (20, 22, 26), 1,
                cv2.LINE_AA)  # fmt: skip
    return np.asarray(framed)
