# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences: OBJ files, pictures that fit their truth, boxes, the command."""

from __future__ import annotations

import numpy as np
import pytest

from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.sequences import build as building
from nemo_model.sequences import scene, timelines
from nemo_model.sequences.build import Truth, detect
from nemo_model.sequences.timelines import BLOCKS, SCRIPTS, TIMELINES, Detector
from nemo_model.sequences.wavefront import read_obj
from nemo_ros.commands import synth_sequence

K = timelines.intrinsics()
SIZE = (timelines.WIDTH, timelines.HEIGHT)
CUBE = """
usemtl carPaint
v -1 -0.75 -2
v 1 -0.75 -2
v 1 0.75 -2
v -1 0.75 -2
v -1 -0.75 2
v 1 -0.75 2
v 1 0.75 2
v -1 0.75 2
f 1 4 3 2
f 5 6 7 8
f 1 2 6 5
f 4 8 7 3
f 1 5 8 4
f 2 3 7 6
"""


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> scene.Model:
    """A box of 2 x 4 x 1.5 m that stands in for a car."""
    path = tmp_path_factory.mktemp("obj") / "cube.obj"
    path.write_text(CUBE)
    return scene.load_model(path, "focus", 4.0)


def test_an_obj_is_turned_upright_and_has_unit_normals(tmp_path):
    path = tmp_path / "one.obj"
    path.write_text("usemtl paint\nv 0 0 0\nv 1 0 0\nv 0 2 0\nvt 0.5 1\nf 1/1 2/1 3/1\n")
    soup = read_obj(path)
    np.testing.assert_allclose(soup.points[0], [[0, 0, 0], [1, 0, 0], [0, 0, 2]])  # y up -> z up
    np.testing.assert_allclose(soup.normals[0], [[0, -1, 0]] * 3)  # z towards us -> front at -y
    np.testing.assert_allclose(soup.uv[0], [[0.5, 1]] * 3)
    assert soup.names == ("paint",)


@pytest.mark.parametrize("text", ["v 0 0\nf 1 2 3\n", "v 0 0 0\n", "v a b c\n"])
def test_a_broken_obj_is_refused_by_name(tmp_path, text):
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(NemoError, match=r"bad\.obj"):
        read_obj(path)


def test_the_picture_shows_the_car_where_the_truth_says(car):
    placed = scene.standing(car, (0.5, 0.0), np.radians(40.0))
    T = timelines.look_at((0.0, -9.0, 1.6), (0.0, 0.0, 0.8))
    with_car = scene.render([placed], (), T, K, SIZE, 3)
    np.testing.assert_allclose(car.size, [2.0, 4.0, 1.5])
    painted = with_car.image[..., 2].astype(int) - with_car.image[..., 0] > 25  # blue paint
    rows, columns = np.nonzero(painted)
    box = with_car.boxes[0]
    assert abs(columns.min() - box[0]) < 3
    assert abs(columns.max() - box[2]) < 3
    assert abs(rows.min() - box[1]) < 3
    assert with_car.hidden[0] == 0.0
    assert with_car.inside[0] == 1.0
    again = scene.render([placed], (), T, K, SIZE, 3)
    np.testing.assert_array_equal(with_car.image, again.image)


def test_hidden_and_cut_shares(car):
    placed = scene.standing(car, (0.0, 0.0), np.radians(90.0))
    T = timelines.look_at((0.0, -9.0, 1.2), (0.0, 0.0, 0.8))
    half = scene.Block((0.0, -2.0, 0.0), (6.0, -1.8, 3.0))
    view = scene.render([placed], [half], T, K, SIZE, 3)
    assert view.hidden[0] == pytest.approx(0.5, abs=0.05)
    wall = scene.Block((-6.0, -2.0, 0.0), (6.0, -1.8, 3.0))
    assert scene.render([placed], [wall], T, K, SIZE, 3).hidden[0] == 1.0
    aside = timelines.look_at((0.0, -9.0, 1.2), (5.0, 0.0, 0.8))
    assert 0.2 < scene.render([placed], (), aside, K, SIZE, 3).inside[0] < 0.9


def truth(**changes) -> Truth:
    values = {"id": "1", "T_cam_obj": np.eye(4), "size": np.ones(3), "hidden": 0.0, "inside": 1.0}
    values["box"] = np.array([100.0, 100.0, 200.0, 160.0])
    return Truth(**(values | changes))


def test_boxes_go_wrong_as_told():
    camera = Camera(K, *SIZE)

    def boxes(detector: Detector, **changes) -> np.ndarray:
        rng = np.random.default_rng(0)
        many = [detect([truth(**changes)], detector, camera, rng) for _ in range(400)]
        return np.array([d.box for found in many for d in found])

    assert len(boxes(Detector(dropped=0.5))) == pytest.approx(200, abs=40)
    spread = boxes(Detector(jitter=0.1)).std(0)
    np.testing.assert_allclose(spread, [10, 6, 10, 6], rtol=0.15)
    assert len(boxes(Detector(), hidden=0.8)) == 0
    assert len(boxes(Detector(), inside=0.2)) == 0
    cut = boxes(Detector(jitter=0.0), box=np.array([-50.0, 10.0, 90.0, 70.0]))
    assert cut[0, 0] == 0.0


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_every_script_is_smooth_and_in_sight(name, car):
    """Cars move less than a metre per frame, and are in front of the camera at some time."""
    steps = [SCRIPTS[name](k / 65, np.zeros(6)) for k in range(66)]
    for spot in range(len(steps[0].cars)):
        xy = np.array([moment.cars[spot].xy for moment in steps])
        assert np.abs(np.diff(xy, axis=0)).max() < 1.0
        ahead = [
            (
                m.T_cam_world
                @ np.append(scene.standing(car, m.cars[spot].xy, 0).T_world_obj[:3, 3], 1)
            )
            for m in steps
        ]
        pixels = np.array([(K @ p[:3])[:2] / p[2] for p in ahead if p[2] > 0])
        inside = ((pixels > 0) & (pixels < SIZE)).all(1)
        assert inside.mean() > 0.6
    assert set(BLOCKS) <= set(SCRIPTS)
    assert {line.scene for line in TIMELINES.values()} == set(SCRIPTS)


def test_the_command_refuses_what_it_does_not_know_and_a_missing_package(tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    synth_sequence.add_arguments(parser)
    for words, text in (
        (["nonsense"], "nonsense: not known"),
        (["turn"], "sweethome3d-furniture"),
    ):
        args = parser.parse_args([*words, "--package", str(tmp_path), "--out", str(tmp_path)])
        with pytest.raises(NemoError, match=text):
            synth_sequence.run(args)


def test_a_bag_of_a_sequence_is_scored_by_replay(tmp_path, monkeypatch, car):
    """With a box for a car: the bag's topics, late boxes, truth, and the cache."""
    calls = []
    real = scene.render

    def counted(*args):
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(scene, "render", counted)
    monkeypatch.setattr(scene, "load_model", lambda path, name, length: car)
    monkeypatch.setattr(building, "unpack", lambda package, cache: dict.fromkeys(["focus", "suv"]))
    for _ in range(2):
        recording = building.build("late", tmp_path, tmp_path / "cache", 0, 5)
        assert len(calls) == 5, "the second time from the cache"
    assert [len(step.arrived) for step in recording.steps] == [0, 0, 0, 1, 1]
    assert recording.steps[4].arrived[0].stamp_ns == recording.steps[1].stamp_ns
    synth_sequence.write_bag(recording, tmp_path / "bag")
    from nemo_ros.bags import Bag
    from nemo_ros.replay import read_truth

    bag = Bag(tmp_path / "bag")
    assert bag.topics[synth_sequence.BOXES_TOPIC].count == 2
    read = read_truth(bag, synth_sequence.TRUTH_TOPIC)
    for step in recording.steps:
        (pose,) = read[step.stamp_ns]
        np.testing.assert_allclose(pose.T_cam_obj, step.truths[0].T_cam_obj, atol=1e-9)
        np.testing.assert_allclose(pose.size, [2.0, 4.0, 1.5])
