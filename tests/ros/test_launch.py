# SPDX-License-Identifier: Apache-2.0
"""The genuine launch file is executed, and a pose comes back over DDS between processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ros_rig import FRAME, PAUSE_NS, Rig, camera, car, picture

from nemo_model.tracker import Tracker
from nemo_ros import conversion
from nemo_ros.launching import Launched
from nemo_ros.pipeline import Pipeline, load_estimators

pytestmark = pytest.mark.ros


def node_process(launch: Launched) -> int:
    """Process id of the pose node below a launch."""
    for process in launch.processes():
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if any(part.endswith(b"lib/nemo_ros/pose_node") for part in command):
            return process
    raise AssertionError(f"no pose_node among {launch.processes()}")


def test_poses_empty_frames_and_overlay(rig: Rig, model: Path, tmp_path: Path) -> None:
    with rig.running(tmp_path):
        rig.listen_to_overlay()
        stamps = []
        pipeline = Pipeline(Tracker(load_estimators(str(model))))
        expected = []
        for seed in range(3):
            stamp, info, image, boxes = rig.send_frame(car(), seed=seed)
            answer = rig.wait_poses(stamp)
            stamps.append(stamp)
            pipeline.calibrate(info, rectified=True)
            tracks = pipeline.step(image, boxes).result.tracks
            expected.append(conversion.poses_message(rig.messages, image.header, tracks))
            assert conversion.stamp_ns(answer) == stamp
            assert conversion.frame_id(answer) == FRAME
            (pose,) = conversion.object_poses_from(answer)
            assert pose.category == "car"
            assert pose.id == "car-1"
            assert 0.0 <= pose.score <= 1.0
            assert pose.T_cam_obj[2, 3] > 0.5, "before the camera, metres"
            np.testing.assert_allclose(pose.covariance, pose.covariance.T, atol=1e-12)
            assert np.linalg.eigvalsh(pose.covariance).min() >= 0.0
            assert 3.0 < pose.size.max() < 7.0, "a car's length, metres"

        # what the live node says is what the same messages give without DDS
        assert rig.poses[: len(expected)] == expected

        stamp, *_ = rig.send_frame(stamp=rig.next_stamp(PAUSE_NS))
        assert rig.wait_poses(stamp).detections == []

        stamp, _, image, _ = rig.send_frame(car(), seed=4)
        drawn = rig.wait(
            lambda: next((m for m in rig.overlays if conversion.stamp_ns(m) == stamp), None),
            10.0,
            "the frame's overlay",
        )
        assert drawn.header == rig.wait_poses(stamp).header
        pixels = conversion.image_from(drawn)
        assert pixels.shape == (480, 640, 3)
        changed = np.abs(pixels.astype(int) - conversion.image_from(image)).sum(2) > 0
        assert changed[150:300, 200:440].mean() > 0.02, "something is drawn on the object"

        report = rig.wait_report(
            lambda r: r.name == "pose" and "track(s)" in r.message, 5.0, "a report"
        )
        assert report.level == 0
        assert int(report.values["frames answered"]) >= 1
        assert report.values["model car provider"].endswith("ExecutionProvider")
        assert len(report.values["model car sha256"]) == 64
        assert float(report.values["latency p95 (ms)"]) > 0.0
        rig.wait_report(lambda r: r.name == "camera" and r.level == 0, 5.0, "a calibrated camera")
        track = rig.wait_report(lambda r: r.name == "track car-2", 5.0, "the track's state")
        assert track.values["mode"] in {"cold", "warm"}


def test_killed_node_is_restarted(rig: Rig, model: Path, tmp_path: Path) -> None:
    with rig.running(tmp_path / "first") as launch:
        stamp, *_ = rig.send_frame(car())
        before = rig.wait_poses(stamp)
        os.kill(node_process(launch), signal.SIGKILL)
    # At once, as a supervisor does: DDS still believes in the dead node. By the launcher of
    # machines that have no other, which must do the same with the same file.
    with rig.running(tmp_path / "second", launcher="plain") as launch:
        stamp, *_ = rig.send_frame(car())
        after = rig.wait_poses(stamp)
        left = launch.processes()
    assert after.detections[0].results == before.detections[0].results, "same image, same pose"
    deadline = time.monotonic() + 5.0
    while any(Path(f"/proc/{process}").exists() for process in left):
        assert time.monotonic() < deadline, "the launch left processes behind"
        time.sleep(0.1)


def test_every_720p_image_arrives(rig: Rig, model: Path, tmp_path: Path) -> None:
    """Best effort, 2.8 MB each: with Fast DDS's default segment most of them are lost.

    The next frame is sent when the last one is answered, so a busy machine only makes it slower.
    """
    count, wide = 60, camera(1280, 720, 1000.0)
    pixels = picture(1, 1280, 720)
    with rig.running(tmp_path):
        rig.send_info(rig.next_stamp(), wide)
        rig.wait_report(lambda r: r.name == "camera" and "1280 x 720" in r.message, 5.0, "camera")
        for _ in range(count):
            stamp = rig.next_stamp()
            rig.send_image(stamp, pixels)
            rig.send_boxes(stamp, car(400, 300, 800, 500))
            rig.wait_poses(stamp)
