# SPDX-License-Identifier: Apache-2.0
"""The parts of `make demo` that need no ROS: comparing, judging, captions, excerpts."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nemo_model.errors import NemoError
from nemo_ros import demo, demo_outputs, demo_table, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import Bag
from nemo_ros.conversion import ObjectPose
from nemo_ros.scoring import Answer
from nemo_ros.shows import SHOWS, Bounds, Show


def pose(degrees: float, name: str = "1", depth: float = 10.0, category: str = "car") -> ObjectPose:
    """An object turned by so many degrees about the camera's y axis."""
    a = np.radians(degrees)
    T = np.eye(4)
    T[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    T[2, 3] = depth
    return ObjectPose(name, category, 0.9, T, np.zeros((6, 6)), np.array([1.8, 4.5, 1.5]))


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
    ("errors", "frames", "words"),
    [
        ([5.0] * 10, 10, []),
        ([5.0] * 8 + [170.0] * 2, 10, []),
        ([5.0] * 7 + [170.0] * 3, 10, ["all: 70 % of the poses"]),  # too many flips
        ([5.0], 10, ["10 % of the frames"]),  # hardly any frame answered
        ([], 10, ["0 % of the frames", "all: 0 % of the poses"]),
    ],
)
def test_results_have_bounds(errors: list[float], frames: int, words: list[str]) -> None:
    found = demo_table.faults(scores_of(errors, frames), Bounds())
    assert len(found) == len(words)
    for fault, start in zip(found, words, strict=True):
        assert fault.startswith(start)


def test_a_category_may_have_a_bound_of_its_own() -> None:
    truth = {0: (pose(0.0), pose(0.0, "2", category="chair"))}
    answer = Answer(0, (pose(1.0), pose(100.0, "2", category="chair")))
    scores = scoring.score([answer], truth)
    assert demo_table.faults(scores, Bounds(acc_30=0.5)) == []
    strict = Bounds(acc_30=0.5, categories={"car": 0.9, "chair": 0.2, "sofa": 0.0})
    assert [fault[:6] for fault in demo_table.faults(scores, strict)] == ["chair:"]


def test_the_table_splits_by_hidden_share() -> None:
    scores = scores_of([1.0, 2.0, 40.0], 4)
    hidden = {(0, "1"): 0.0, (1, "1"): 0.2, (2, "1"): 0.7, (3, "1"): 0.7}
    rows = {name: (total, len(found)) for name, total, found in demo_table.rows(scores, hidden)}
    assert rows == {
        "all": (4, 3),
        "hidden 0-10 %": (1, 1),
        "hidden 10-40 %": (1, 1),
        "over 40 %": (2, 1),
        "car 1": (4, 3),
    }


def test_categories_are_summed_over_recordings() -> None:
    first = scores_of([1.0, 2.0], 3)
    both = {k: (pose(0.0), pose(0.0, "2", 12.0, "sofa")) for k in range(2)}
    second = scoring.score([Answer(0, (pose(3.0), pose(50.0, "2", 12.0, "sofa")))], both)
    rows = demo_table.by_category([first, second])
    assert [(name, total, len(found)) for name, total, found in rows] == [
        ("car", 5, 3), ("sofa", 2, 1)
    ]  # fmt: skip
    assert "0 %" in demo_table.line(rows[1])
    assert "50.0 deg" in demo_table.line(rows[1])


def test_what_is_played_depends_on_the_options(tmp_path: Path) -> None:
    def shows(**given: object) -> list[Show]:
        options: dict[str, object] = {"only": None, "bag": None, "model": None}
        return demo.shows_of(argparse.Namespace(**(options | given)))

    assert shows() == list(SHOWS)
    assert shows(only="household") == [SHOWS[1]]
    assert shows(model=tmp_path) == [replace(SHOWS[0], model=tmp_path)]
    assert shows(model=tmp_path, only="household") == [replace(SHOWS[1], model=tmp_path)]
    own = shows(bag=tmp_path / "mine", model=tmp_path)
    assert [(s.bag, s.model, s.bounds) for s in own] == [(tmp_path / "mine", tmp_path, Bounds())]


def test_what_is_played_is_there() -> None:
    assert [show.name for show in SHOWS] == ["car", "household"]
    for show in SHOWS:
        assert (show.bag / "metadata.yaml").is_file()
        assert (show.bag.parent / demo.HIDDEN_CSV).is_file()
        for share in (show.bounds.answered, show.bounds.acc_30, *show.bounds.categories.values()):
            assert 0.0 < share < 1.0


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
    drawn = demo_outputs.caption(image, [["car 1: 3 deg off", "40 % hidden"]])
    assert drawn.shape == (90 + 2 * 18, 160, 3)
    np.testing.assert_array_equal(drawn[:90], image)
    assert drawn[90:108].max() > 150
    assert drawn[108:].max() > 150


def test_captions_stay_in_their_columns() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    texts = [["diningtable 2: not found", "100 % hidden"], [], [], ["car"]]
    strip = demo_outputs.caption(image, texts)[360:]
    lit = (strip > 60).any(axis=(0, 2))
    assert lit[:160].any()
    assert not lit[158:480].any()
    assert lit[480:].any()
