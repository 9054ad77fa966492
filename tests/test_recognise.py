# SPDX-License-Identifier: Apache-2.0
"""The category of a box is found by what explains it best, and kept over frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapes
import tiny
from test_family import CAMERA, write

from nemo_model.bundle import Bundle
from nemo_model.camera import FIRST_CELL, STRIDE, Camera, CropCamera
from nemo_model.errors import NemoError
from nemo_model.estimate import Observation
from nemo_model.estimator import Estimator
from nemo_model.family import load_family
from nemo_model.mesh import Mesh, cuboid, mean_outline
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.recognise import KEEP, Evidence, gain, probabilities
from nemo_model.recogniser import Recogniser, comparable
from nemo_model.synthetic import Problem, clutter_features, make_problem, smooth_features
from nemo_model.tracker import Detection, Frame, LateBoxes, Tracker, TrackerConfig
from nemo_model.tracking.recognising import AUTO
from nemo_ros.conversion import detections_from
from nemo_ros.pipeline import Pipeline, PipelineConfig, parse_class_map

MESHES: dict[str, Mesh] = {
    "car": tiny.mesh(500),
    "ring": shapes.torus(),
    "stairs": shapes.stairs(),
    "pole": cuboid([-0.06, -0.06, -0.48], [0.06, 0.06, 0.48], 400),
}
EXTRACTOR: Any = SimpleNamespace(channels=16)


def family(**changes: Any) -> dict[str, Estimator]:
    """Categories of other shapes and features, over one clutter model."""
    found = {}
    for seed, (name, mesh) in enumerate(MESHES.items()):
        parts = {
            "mesh": mesh,
            "features": smooth_features(mesh, 16, seed),
            "clutter": clutter_features(4, 16, 99),
            "outline": mean_outline([mesh]),
        }
        bundle = Bundle(Path(name), tiny.card(category=name), **(parts | changes))
        found[name] = Estimator(bundle, EXTRACTOR)
    return found


def observation(problem: Problem) -> Observation:
    """What a synthetic problem shows, as a crop that is the whole image."""
    h, w = problem.features.shape[:2]
    K = problem.K_map.copy()
    K[:2] *= STRIDE
    K[:2, 2] += FIRST_CELL
    camera = Camera(K, w * STRIDE, h * STRIDE)
    crop = CropCamera(K, np.eye(3), camera.width, camera.height, 1.0, np.eye(3))
    box = problem.box * STRIDE + FIRST_CELL
    return Observation(camera, crop, box, problem.features, {}, None)


def test_a_category_that_is_sure_of_the_view_is_no_likelier_for_it() -> None:
    """The viewpoint prior is in what was maximised, and is left out of the choice of category."""
    one = family()["car"]
    seen = observation(make_problem(one.solver.table, clutter_features(4, 16, 99), 0))
    estimate = one.solve(seen)
    solution = estimate.solution
    assert solution is not None
    assert solution.total is not None
    leant = replace(solution, total=solution.total + 7.0, leaning=7.0)
    assert gain(seen, replace(estimate, solution=leant)) == pytest.approx(gain(seen, estimate))


@pytest.mark.parametrize("hidden", [0.0, 0.4])
def test_the_category_that_explains_the_map_is_found(hidden: float) -> None:
    """Large meshes and small ones alike: the pole covers a tenth of what the car does."""
    recogniser = Recogniser(family())
    clutter = clutter_features(4, 16, 99)
    right, shares = [], []
    for name, one in recogniser.estimators.items():
        for seed in range(6):
            problem = make_problem(one.solver.table, clutter, seed, hidden=hidden)
            found = probabilities(recogniser.look(observation(problem)).gains)
            right.append(max(found, key=lambda c: found[c]) == name)
            shares.append(found[name])
    assert np.mean(right) > 0.95
    assert np.mean(shares) > 0.9


def test_probabilities_are_a_softmax_with_a_temperature() -> None:
    found = probabilities({"a": 0.3, "b": 0.3 - 0.03 * np.log(3.0), "c": -40.0}, 0.03)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == pytest.approx(0.75)
    assert found["c"] == pytest.approx(0.0)
    assert probabilities({"a": 0.3, "b": 0.2}, 1e3)["a"] == pytest.approx(0.5, abs=1e-3)


def test_evidence_adds_up_and_fades() -> None:
    once = Evidence().plus({"a": 0.2, "b": 0.1})
    twice = once.plus({"a": 0.1, "b": 0.2})
    assert twice.gains == pytest.approx({"a": KEEP * 0.2 + 0.1, "b": KEEP * 0.1 + 0.2})
    assert Evidence().probabilities() == {}
    assert once.probabilities(0.1)["a"] == pytest.approx(1 / (1 + np.exp(-1)))


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = family(), family(clutter=clutter_features(4, 16, 98))
    assert comparable(list(one.values()))
    mixed = {"car": one["car"], "ring": other["ring"]}
    with pytest.raises(NemoError, match="car, ring: only those of one family"):
        Recogniser(mixed)
    apart = Estimator(one["ring"].bundle, SimpleNamespace(channels=16))  # type: ignore[arg-type]
    assert not comparable([one["car"], apart])
    assert not comparable([object()])
    assert not comparable([])
    with pytest.raises(NemoError, match="temperature"):
        Recogniser(one, temperature=0.0)


# --- from pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("recognise") / "pair")


def picture(kind: str, seed: int = 0, x: float = 0.2) -> tuple[np.ndarray, Any]:
    T = transform(rotation_from_angles(0.6, 0.2, 0.0), np.array([x, 0.1, 13.0]))
    image, box = tiny.photo(CAMERA, T, seed)
    if kind == "van":
        image = 255 - image[..., [1, 2, 0]]
    return np.ascontiguousarray(image), box


@pytest.mark.parametrize("kind", ["car", "van"])
def test_three_lines_find_category_and_pose(folder: Path, kind: str) -> None:
    recogniser = Recogniser.load(folder)
    image, box = picture(kind)
    estimate, shares = recogniser.estimate(image, CAMERA.K, box)
    assert recogniser.categories == ["car", "van"]
    assert estimate.category == kind
    assert shares[kind] > 0.95
    assert sum(shares.values()) == pytest.approx(1.0)
    alone = recogniser.estimators[kind].estimate(image, CAMERA.K, box)
    np.testing.assert_allclose(estimate.T_cam_obj, alone.T_cam_obj, atol=1e-9)


# --- over frames


def tracker(folder: Path, **config: Any) -> Tracker:
    return Tracker({e.category: e for e in load_family(folder)}, TrackerConfig(**config))


def frame(kind: str, k: int, category: str = AUTO, late: Any = ()) -> Frame:
    image, box = picture(kind, k)
    detection = Detection(tuple(float(v) for v in box), category)  # type: ignore[arg-type]
    return Frame(image, CAMERA, k * 100_000_000, (detection,), late)


def test_a_track_is_of_the_category_found(folder: Path) -> None:
    one = tracker(folder)
    results = [one.step(frame("van", k)) for k in range(1, 4)]
    (first,), (last,) = results[0].tracks, results[-1].tracks
    assert {track.estimate.category for result in results for track in result.tracks} == {"van"}
    assert first.id == last.id == "auto-1"
    assert "as van with probability" in first.reason
    assert last.state.value == "tracking"
    known = tracker(folder).step(frame("van", 1, "van")).tracks[0]
    np.testing.assert_allclose(first.estimate.T_cam_obj, known.estimate.T_cam_obj, atol=1e-9)


def test_one_odd_frame_does_not_change_the_category_but_many_do(folder: Path) -> None:
    """The track keeps its own until the sum of the evidence is against it."""
    one = tracker(folder)
    one.step(frame("van", 1))
    (memory,) = one.memories.values()
    memory.certainty = 0.9  # asked in every frame
    memory.evidence = Evidence({"car": 0.0, "van": 2.0})
    assert one.step(frame("car", 2)).tracks[0].estimate.category == "van"
    found = []
    for k in range(3, 9):
        memory.certainty = min(memory.certainty, 0.9)
        found += [t.estimate.category for t in one.step(frame("car", k)).tracks]
    assert found[-1] == "car"
    assert found == sorted(found, reverse=True)  # it changes once


def test_a_sure_category_costs_no_more_searches(folder: Path) -> None:
    one, known = tracker(folder), tracker(folder)
    assert one.step(frame("van", 1)).spent_ms == known.step(frame("van", 1, "van")).spent_ms + 8.0
    (memory,) = one.memories.values()
    assert memory.certainty > 0.99
    assert one.step(frame("van", 2)).spent_ms == known.step(frame("van", 2, "van")).spent_ms


def test_an_unsure_category_lowers_the_score(folder: Path) -> None:
    one, known = tracker(folder), tracker(folder)
    one.step(frame("van", 1))
    known.step(frame("van", 1, "van"))
    (memory,) = one.memories.values()
    memory.asked, memory.certainty = 0, 0.995
    score = known.step(frame("van", 2, "van")).tracks[0].estimate.score
    found = one.step(frame("van", 2)).tracks[0].estimate.score
    assert found == pytest.approx(0.995 * score)


def test_a_late_box_is_recognised_too(folder: Path) -> None:
    one = tracker(folder)
    image, _ = picture("van", 1)
    one.step(Frame(image, CAMERA, 100_000_000, ()))
    late = LateBoxes(100_000_000, frame("van", 1).detections)
    image, _ = picture("van", 2)
    result = one.step(Frame(image, CAMERA, 200_000_000, (), (late,)))
    assert [track.estimate.category for track in result.tracks] == ["van"]


def test_the_same_frames_give_the_same_bytes(folder: Path) -> None:
    runs = []
    for _ in range(2):
        one = tracker(folder)
        runs.append([one.step(frame("car", k)).tracks[0].estimate for k in range(1, 4)])
    for a, b in zip(*runs, strict=True):
        assert a.T_cam_obj.tobytes() == b.T_cam_obj.tobytes()
        assert a.score == b.score


def test_categories_of_several_bundles_are_not_told_apart(folder: Path, tmp_path: Path) -> None:
    apart = {"car": Estimator.load(tiny.write(tmp_path / "a")),
             "van": Estimator.load(tiny.write(tmp_path / "b", category="van"))}  # fmt: skip
    one = Tracker(apart)
    assert one.recogniser is None
    (rejected,) = one.step(frame("car", 1)).rejected
    assert "no model for category 'auto'" in rejected.reason
    with pytest.raises(NemoError, match="class_map: 'auto' finds"):
        Pipeline(one, PipelineConfig(class_map=parse_class_map(["*=auto"])))


# --- messages


def test_every_class_and_none_may_mean_auto() -> None:
    def box(*classes: str) -> Any:
        results = [
            SimpleNamespace(hypothesis=SimpleNamespace(class_id=c, score=0.9)) for c in classes
        ]
        place = SimpleNamespace(position=SimpleNamespace(x=10.0, y=10.0))
        return SimpleNamespace(
            id="", results=results, bbox=SimpleNamespace(center=place, size_x=4.0, size_y=4.0)
        )

    message = SimpleNamespace(detections=[box("car"), box("17"), box()])
    for entries, expected in (
        (["*=auto"], ["auto", "auto", "auto"]),
        (["car=car", "*=auto"], ["car", "auto", "auto"]),
        (["17=van"], ["car", "van", ""]),
    ):
        found = detections_from(message, parse_class_map(entries))
        assert [one.category for one in found] == expected
