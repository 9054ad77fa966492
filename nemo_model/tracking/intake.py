# SPDX-License-Identifier: Apache-2.0
"""Which boxes can be used, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_model.boxes import Detection, reason_against
from nemo_model.camera import Camera
from nemo_model.tracking.types import Rejected

Accepted = tuple[list[Detection], list[Rejected]]
"""Usable boxes, and the others with what is wrong with them."""


def accept(
    detections: Sequence[Detection], camera: Camera, categories: Sequence[str], min_box_px: float
) -> Accepted:
    """Sort boxes into usable ones and rejected ones; categories: those with a model."""
    good: list[Detection] = []
    rejected: list[Rejected] = []
    best: dict[str, Detection] = {}  # of the boxes that share an id, the highest score
    for detection in detections:
        reason = reason_against(detection, camera, min_box_px)
        if reason is None and detection.category not in categories:
            known = ", ".join(categories)
            reason = f"no model for category {detection.category!r} (loaded: {known})"
        if reason is not None:
            rejected.append(Rejected(detection, reason))
            continue
        good.append(detection)
        rival = best.get(detection.track_id)
        if rival is None or detection.score > rival.score:
            best[detection.track_id] = detection
    twins = [d for d in good if d.track_id and d is not best[d.track_id]]
    for twin in twins:
        reason = f"a better box of this frame has the same id {twin.track_id!r}"
        rejected.append(Rejected(twin, reason))
    return [d for d in good if not any(d is twin for twin in twins)], rejected
