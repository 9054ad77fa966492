# SPDX-License-Identifier: Apache-2.0
"""Keeps the frames that went worst, for the report, without keeping every image."""

from __future__ import annotations

import heapq

import cv2
import numpy as np

from nemo_model.overlay import draw, draw_cuboid
from nemo_ros import scoring
from nemo_ros.replay import FrameRecord, poses_of
from nemo_ros.report import Picture

SHOWN = 6
POOL = 60
APART_S = 0.5
"""Pictures of one report are at least so far apart in time: neighbours look alike."""


class Gallery:
    """With ground truth the largest rotation errors, without it the lowest scores."""

    def __init__(self, truth: scoring.Truth, symmetries: scoring.Symmetries | None = None) -> None:
        self._truth, self._symmetries = truth, symmetries
        self._pool: list[tuple[float, int, str, bytes]] = []  # badness, -stamp, caption, JPEG

    def add(self, record: FrameRecord, start_ns: int) -> None:
        """Take a frame, if it is bad enough."""
        judged = self._judge(record)
        if judged is None:
            return
        badness, text = judged
        if len(self._pool) == POOL and badness <= self._pool[0][0]:
            return
        frame = record.outcome.frame
        image = frame.image
        for pose in self._truth.get(record.stamp_ns, ()):
            if pose.size.any():
                image = draw_cuboid(image, frame.camera, pose.T_cam_obj, pose.size)
        image = draw(image, record.outcome.result.tracks)
        data = cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes()
        caption = f"{(record.stamp_ns - start_ns) * 1e-9:.2f} s: {text}"
        entry = (badness, -record.stamp_ns, caption, data)
        keep = heapq.heappush if len(self._pool) < POOL else heapq.heappushpop
        keep(self._pool, entry)

    def _judge(self, record: FrameRecord) -> tuple[float, str] | None:
        """Badness and a caption; None when the frame has nothing to show."""
        if self._truth:
            real = self._truth.get(record.stamp_ns, ())
            found = poses_of(record.outcome)
            matches = scoring.match_frame(record.stamp_ns, real, found, self._symmetries)
            if not matches:
                return None
            worst = max(matches, key=lambda match: match.rotation_deg)
            return worst.rotation_deg, (
                f"{worst.track_id} is {worst.rotation_deg:.1f}° and {worst.position_m:.2f} m off, "
                f"score {worst.score:.2f}; the ground truth is drawn in magenta"
            )
        tracks = record.outcome.result.tracks
        if not tracks:
            return None
        weakest = min(tracks, key=lambda track: track.estimate.score)
        return -weakest.estimate.score, (
            f"{weakest.id} has score {weakest.estimate.score:.2f} ({weakest.reason})"
        )

    def pictures(self) -> list[Picture]:
        """The worst frames, the worst first."""
        chosen: list[tuple[float, int, str, bytes]] = []
        for entry in sorted(self._pool, reverse=True):
            if all(abs(entry[1] - other[1]) >= APART_S * 1e9 for other in chosen):
                chosen.append(entry)
            if len(chosen) == SHOWN:
                break
        return [
            Picture(np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), 1))[:, :, ::-1], text)
            for _, _, text, data in chosen
        ]
