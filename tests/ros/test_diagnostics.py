# SPDX-License-Identifier: Apache-2.0
"""Health counts, takes percentiles, and says what is wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_ros.diagnostics import Health, Level, Status, TrackFacts, percentile


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def by_name(statuses: list[Status]) -> dict[str, Status]:
    return {status.name: status for status in statuses}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(0, 100))
def test_percentile_is_the_nearest_rank(values: list[float], percent: int) -> None:
    """The smallest value that at least the share of all values does not exceed."""
    result = percentile(values, percent / 100)
    below = sum(value <= result for value in values)
    strictly = sum(value < result for value in values)
    assert 100 * below >= percent * len(values)
    assert result == min(values) or 100 * strictly < percent * len(values)


def test_percentiles_of_known_series() -> None:
    series = [float(i) for i in range(1, 101)]
    assert [percentile(series, p) for p in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert math.isnan(percentile([], 0.5))


def test_a_problem_warns_once_and_stays_counted() -> None:
    clock = Clock()
    health = Health(clock=clock)
    for stream in ("image", "boxes", "camera_info"):
        health.saw(stream)
    health.problem("boxes", "the box is empty")
    health.problem("boxes", "the box is not finite")
    first = by_name(health.report("active"))["input"]
    assert first.level is Level.WARN
    assert first.message == "boxes: the box is not finite"
    assert first.values["boxes problems"] == "2"
    second = by_name(health.report("active"))["input"]
    assert second.level is Level.OK
    assert second.values["boxes problems"] == "2"
    assert second.values["boxes last problem"] == "the box is not finite"


def test_silence_is_named_while_active_only() -> None:
    clock = Clock()
    health = Health(clock=clock)
    assert by_name(health.report("inactive"))["input"].level is Level.OK
    assert by_name(health.report("active"))["input"].message == (
        "nothing arrives on: image, boxes, camera_info"
    )
    health.saw("camera_info")
    health.saw("image")
    clock.now += 10.0
    status = by_name(health.report("active"))["input"]
    assert status.message == "nothing arrives on: image, boxes", "one camera_info is enough"
    assert status.values["image age (s)"] == "10.0"
    assert status.values["boxes age (s)"] == "never"


def test_frames_rate_latency_and_tracks() -> None:
    clock = Clock()
    health = Health(clock=clock)
    track = TrackFacts("car-1", "car", 0.875, 0.5, "warm", 7, "refined from the last frame")
    for latency in range(1, 11):
        health.frame(float(latency), 0.5, [track])
    clock.now += 2.0
    statuses = by_name(health.report("active"))
    pose = statuses["pose"]
    assert (pose.level, pose.message) == (Level.OK, "active, 1 track(s)")
    assert pose.values["rate (Hz)"] == "5.0"
    assert pose.values["latency p50 (ms)"] == "5.0"
    assert pose.values["latency p99 (ms)"] == "10.0"
    assert statuses["track car-1"].values["score"] == "0.875"
    assert statuses["track car-1"].message == "tracking: refined from the last frame"
    assert statuses["track car-1"].level is Level.OK
    clock.now += 2.0
    assert by_name(health.report("active"))["pose"].values["rate (Hz)"] == "0.0"
    health.clear_tracks()
    assert "track car-1" not in by_name(health.report("active"))


def test_a_lost_object_warns_and_is_no_track_of_the_count() -> None:
    health = Health()
    gone = TrackFacts(
        "7", "car", 0.1, 0.0, "predicted", 9, "no box; not seen for 0.4 s", "lost", False
    )
    health.frame(1.0, 1.0, [gone])
    statuses = by_name(health.report("active"))
    assert statuses["pose"].message == "active, 0 track(s)"
    status = statuses["track 7"]
    assert (status.level, status.message) == (Level.WARN, "lost: no box; not seen for 0.4 s")
    assert status.values["state"] == "lost"
    assert status.values["pose published"] == "no"


def test_errors_and_states_have_levels() -> None:
    health = Health()
    assert by_name(health.report("inactive"))["pose"].level is Level.WARN
    health.error("cannot load the model: gone")
    status = by_name(health.report("unconfigured"))["pose"]
    assert (status.level, status.message) == (Level.ERROR, "cannot load the model: gone")
    health.error(None)
    assert by_name(health.report("active"))["pose"].level is Level.OK


def test_calibration_is_lost_and_found() -> None:
    health = Health()
    assert by_name(health.report("active"))["camera"].level is Level.WARN
    health.problem("camera_info", "camera_info: K is zero, the camera is not calibrated")
    status = by_name(health.report("active"))["camera"]
    assert status.level is Level.ERROR
    assert "not calibrated" in status.message
    health.calibrated("640 x 480, no distortion")
    assert by_name(health.report("active"))["camera"].level is Level.OK
    health.problem("camera_info", "camera_info: K is zero, the camera is not calibrated")
    assert by_name(health.report("active"))["camera"].level is Level.ERROR


def test_counts_come_through() -> None:
    health = Health()
    health.count("frames dropped (worker busy)", 3)
    health.gauge("images without boxes", 4)
    values = by_name(health.report("active"))["pose"].values
    assert values["frames dropped (worker busy)"] == "3"
    assert values["images without boxes"] == "4"
    assert health.counts()["images without boxes"] == 4


@pytest.mark.parametrize("level", list(Level))
def test_levels_are_those_of_the_message(level: Level) -> None:
    assert 0 <= int(level) <= 3
