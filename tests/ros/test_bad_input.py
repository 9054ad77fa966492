# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in is reported on /diagnostics, in words, and survived."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

import numpy as np
import pytest
from ros_rig import FRAME, PAUSE_NS, Report, Rig, camera, car, picture

from nemo_model.boxes import Detection
from nemo_ros import conversion

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def live(rig: Rig, model: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One launched node for the whole module: every test hands it over alive."""
    with rig.running(tmp_path_factory.mktemp("bad_input")):
        yield rig


@pytest.fixture(autouse=True)
def _still_works_afterwards(live: Rig) -> Iterator[None]:
    """After each bad input a good frame is answered with a pose."""
    yield
    stamp, *_ = live.send_frame(car())
    (detection,) = live.wait_poses(stamp).detections
    assert detection.results[0].hypothesis.class_id == "car"


def problem(live: Rig, kind: str, text: str, since: int) -> Report:
    """Wait for the report of a problem; checks its level and its count."""
    report = live.wait_report(
        lambda r: r.name == "input" and r.level == 1 and text in r.message,
        6.0,
        f"a problem of {kind} with {text!r}",
        since,
    )
    assert f"{kind}: " in report.message
    assert int(report.values[f"{kind} problems"]) >= 1
    return report


def test_uncalibrated_camera(live: Rig) -> None:
    since, answered = len(live.reports), len(live.poses)
    stamp = live.next_stamp()
    info = conversion.camera_message(live.messages, live.header(stamp), camera())
    info.k, info.p = np.zeros(9), np.zeros(12)
    live.info.publish(info)
    live.wait_report(
        lambda r: "K is zero, the camera is not calibrated" in r.message, 6.0, "the reason", since
    )
    live.send_image(stamp, picture())
    live.send_boxes(stamp, car())
    problem(live, "frame", "no camera_info that can be used", since)
    assert len(live.poses) == answered, "no pose without a calibration"


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((2000.0, 100.0, 2100.0, 200.0), "outside the image"),
        ((math.nan, 100.0, 300.0, 200.0), "not finite"),
        ((300.0, 200.0, 300.0, 200.0), "empty"),
        ((300.0, 200.0, 302.0, 202.0), "too small"),
    ],
)
def test_bad_box(live: Rig, box: tuple[float, float, float, float], reason: str) -> None:
    since = len(live.reports)
    stamp, *_ = live.send_frame(Detection(box, "car"), car())
    answer = live.wait_poses(stamp)
    assert len(answer.detections) == 1, "the good box of the frame is not lost with the bad one"
    problem(live, "boxes", reason, since)


@pytest.mark.parametrize(("category", "text"), [("giraffe", "'giraffe'"), ("", "category ''")])
def test_class_without_a_model(live: Rig, category: str, text: str) -> None:
    since = len(live.reports)
    stamp = live.next_stamp(PAUSE_NS)
    live.send_frame(Detection((200.0, 150.0, 440.0, 300.0), category), stamp=stamp)
    assert live.wait_poses(stamp).detections == []
    problem(live, "boxes", text, since)


def test_no_hypothesis(live: Rig) -> None:
    since = len(live.reports)
    stamp = live.next_stamp(PAUSE_NS)
    live.send_info(stamp, camera())
    live.send_image(stamp, picture())
    boxes = conversion.boxes_message(live.messages, live.header(stamp), [car()])
    boxes.detections[0].results = []
    live.boxes.publish(boxes)
    assert live.wait_poses(stamp).detections == []
    problem(live, "boxes", "no model for category ''", since)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoding": "32FC1"}, "'32FC1' is not supported"),
        ({"encoding": "nonsense"}, "'nonsense' is not supported"),
        ({"data": array("B", [1, 2, 3])}, "holds 3 bytes"),
        ({"step": 10}, "step is 10 bytes"),
        ({"width": 0, "height": 0}, "is empty"),
        ({"height": 240}, "the image is 640x240"),
    ],
)
def test_bad_image(live: Rig, change: dict[str, object], text: str) -> None:
    since = len(live.reports)
    stamp = live.next_stamp()
    live.send_info(stamp, camera())
    image = live.image_message(stamp, picture())
    for field, value in change.items():
        setattr(image, field, value)
    live.image.publish(image)
    live.send_boxes(stamp, car())
    problem(live, "image", text, since)


def test_frames_out_of_order(live: Rig) -> None:
    first, *_ = live.send_frame(car())
    live.wait_poses(first)
    since, answered = len(live.reports), len(live.poses)
    live.send_frame(car(), stamp=first - 50_000_000)
    problem(live, "order", "is not newer than the last one", since)
    assert len(live.poses) == answered


def test_boxes_without_an_image_and_silence(live: Rig) -> None:
    since = len(live.reports)
    first = live.wait_report(lambda r: r.name == "pose", 6.0, "a report", since)
    before = int(first.values["boxes without an image"])
    live.send_boxes(live.next_stamp(), car())
    live.send_frame(car())  # passes the lonely boxes
    report = live.wait_report(
        lambda r: r.name == "pose" and int(r.values["boxes without an image"]) > before,
        6.0,
        "the unmatched boxes",
        since,
    )
    assert report.level == 0
    live.wait_report(
        lambda r: r.name == "input" and r.message == "nothing arrives on: image, boxes",
        8.0,
        "the silence",
        since,
    )


def test_stream_that_starts_over(live: Rig) -> None:
    """A bag that loops: stamps jump far back, tracks are cleared, poses go on."""
    stamp, *_ = live.send_frame(car())
    live.wait_poses(stamp)
    early = stamp - 100_000_000_000
    live.send_frame(car(), stamp=early)
    answer = live.wait_poses(early)
    assert conversion.frame_id(answer) == FRAME
    live._stamp = early
    live.wait_report(
        lambda r: r.values.get("tracks cleared (stamps jumped back)") == "1", 6.0, "the jump"
    )
