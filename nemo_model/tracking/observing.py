# SPDX-License-Identifier: Apache-2.0
"""Boxes of one frame through the networks: one batch for all that share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_model.family import sharing
from nemo_model.tracking.memory import Task
from nemo_model.tracking.motion import clipped
from nemo_model.tracking.outcome import failed
from nemo_model.tracking.states import Look
from nemo_model.tracking.types import Frame, PoseEstimator


def observe(
    chosen: Sequence[Task],
    frame: Frame,
    estimators: Mapping[str, PoseEstimator],
    looks: dict[str, Look],
) -> None:
    """All boxes of a network go through it at once; a bad one spoils only itself, see `looks`."""
    names = list(estimators)
    for group in sharing(list(estimators.values())):
        categories = {names[place] for place in group}
        estimator = estimators[names[group[0]]]
        mine = [task for task in chosen if task.memory.model in categories]
        if not mine:
            continue
        boxes = [clipped(t.box, frame.camera) if t.detection is None else t.box for t in mine]
        try:
            for task, seen in zip(
                mine, estimator.observe_many(frame.image, frame.camera.K, boxes), strict=True
            ):
                task.seen = seen
        except ValueError:
            for task, box in zip(mine, boxes, strict=True):
                try:
                    (task.seen,) = estimator.observe_many(frame.image, frame.camera.K, [box])
                except ValueError as error:
                    looks[task.memory.id] = failed(task, frame, error)
