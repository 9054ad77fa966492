# SPDX-License-Identifier: Apache-2.0
"""The parts of `make demo` that need no ROS: comparing, judging, captions, excerpts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nemo_model.errors import NemoError
from nemo_ros import demo, demo_outputs, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import Bag
from nemo_ros.conversion import ObjectPose
from nemo_ros.scoring import Answer


def pose(degrees: float, name: str = "1", depth: float = 10.0) -> ObjectPose:
    """A car turned by so many degrees about the camera's y axis."""
    a = np.radians(degrees)
    T = np.eye(4)
    T[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    T[2, 3] = depth
    return ObjectPose(name, "car", 0.9, T, np.zeros((6, 6)), np.array([1.8, 4.5, 1.5]))


def scores_of(errors: list[float], frames: int) -> scoring.Scores:
    """Frames with one car each, of which the first ones are answered with these errors."""
    truth = {k: (pose(0.0),) for k in range(frames)}
    return scoring.score([Answer(k, (pose(e),)) for k, e in enumerate(errors)], truth)


def test_equal_poses_agree_and_others_are_told() -> None:
    live = [Answer(0, (pose(5.0), pose(7.0, "2"))), Answer(1, (pose(6.0),))]
    same = demo._compare(live, live)
    assert (same.same, same.compared, same.rotation_deg) == (3, 3, 0.0)
    assert "the same 3 poses" in demo._words(same)
    moved = [Answer(0, (pose(5.0), pose(9.0, "2", 10.5))), Answer(2, (pose(6.0),))]
    other = demo._compare(live, moved)
    assert (other.same, other.compared) == (1, 2)
    assert other.rotation_deg == pytest.approx(2.0)
    assert other.position_m == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("errors", "frames", "code"),
    [
        ([5.0] * 10, 10, 0),
        ([5.0] * 8 + [170.0] * 2, 10, 0),
        ([5.0] * 7 + [170.0] * 3, 10, 1),  # too many flips
        ([5.0], 10, 1),  # hardly any frame answered
        ([], 10, 1),
    ],
)
def test_the_verdict_has_bounds(errors: list[float], frames: int, code: int) -> None:
    assert demo._verdict(scores_of(errors, frames)) == code


def test_the_table_splits_by_hidden_share() -> None:
    scores = scores_of([1.0, 2.0, 40.0], 4)
    hidden = {(0, "1"): 0.0, (1, "1"): 0.2, (2, "1"): 0.7, (3, "1"): 0.7}
    rows = {name: (total, len(found)) for name, total, found in demo._totals(scores, hidden)}
    assert rows == {
        "all": (4, 3),
        "hidden 0-10 %": (1, 1),
        "hidden 10-40 %": (1, 1),
        "over 40 %": (2, 1),
        "car 1": (4, 3),
    }


def test_an_excerpt_has_whole_frames_only(repository: Path) -> None:
    path = repository / "demo" / "recording"
    topics = demo.TOPICS
    ranks = {topics.camera_info: 0, topics.detections: 1, topics.image: 2}
    truth = replaying.read_truth(Bag(path), topics.ground_truth)
    kept = sorted(truth)[3:40:7]
    raws = list(demo_outputs._Excerpt(path, topics, kept).messages(ranks))
    for name in (topics.image, topics.detections):
        assert [raw.log_ns for raw in raws if raw.topic == name] == kept
    assert sum(raw.topic == topics.camera_info for raw in raws) == len(truth)


def test_hidden_shares_are_read_by_stamp_and_id(repository: Path, tmp_path: Path) -> None:
    hidden = demo_outputs.read_hidden(repository / "demo" / demo.HIDDEN_CSV)
    assert len(hidden) == 240
    assert {name for _, name in hidden} == {"1", "2"}
    broken = tmp_path / "truth.csv"
    broken.write_text("frame,share\n1,0.5\n")
    with pytest.raises(NemoError, match=r"truth\.csv.*stamp_ns, id, hidden"):
        demo_outputs.read_hidden(broken)


def test_a_caption_is_below_the_picture() -> None:
    image = np.full((90, 160, 3), 200, np.uint8)
    drawn = demo_outputs.caption(image, ["car 1: 3 deg off, 40 % hidden"])
    assert drawn.shape == (108, 160, 3)
    np.testing.assert_array_equal(drawn[:90], image)
    assert drawn[90:].max() > 150
