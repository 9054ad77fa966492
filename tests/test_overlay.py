# SPDX-License-Identifier: Apache-2.0
"""The overlay: what is drawn lies where the pose projects, in the colour that it should have."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tracking_doubles import CAMERA, FakeEstimate, FakeEstimator

from nemo_model.overlay import HIDDEN, VISIBLE, corners, draw, project
from nemo_model.tracker import Detection, State, Track

BOX = (250.0, 120.0, 390.0, 240.0)
GREY = np.full((360, 640, 3), 90, np.uint8)


def estimate(**changes) -> FakeEstimate:
    """Seen from the front; the left half of the covered cells visible, the right half hidden."""
    occlusion = np.full((16, 24), -1, np.int8)
    occlusion[3:13, 4:12] = 1
    occlusion[3:13, 12:20] = 0
    made: FakeEstimate = FakeEstimator().estimate(GREY, CAMERA.K, BOX)
    return dataclasses.replace(made, **({"occlusion": occlusion} | changes))


def track(made: FakeEstimate, box=BOX) -> Track:
    return Track("car-1", Detection(box, "car"), made, 1, 0)


def test_points_project_as_with_the_camera_itself():
    made = estimate()
    points = corners(made.size)
    T = made.T_cam_obj
    expected = CAMERA.project(points @ T[:3, :3].T + T[:3, 3])
    np.testing.assert_allclose(project(made, points), expected, atol=1e-6)


def test_corners_span_the_size_about_the_origin():
    points = corners(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(points.max(0), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(points.min(0), [-0.5, -1.0, -1.5])
    assert len({tuple(p) for p in points}) == 8


def test_visible_cells_turn_green_and_hidden_ones_orange_where_they_lie():
    made = estimate()
    drawn = draw(GREY, [track(made)])
    bare = draw(GREY, [track(estimate(occlusion=np.full((16, 24), -1, np.int8)))])
    to_image = np.linalg.inv(made.crop.H_crop_image)

    def mean_at(row: int, column: int, drawn: np.ndarray = drawn) -> np.ndarray:
        u, v, w = to_image @ [8 * column + 7, 8 * row + 7, 1.0]
        x, y = round(u / w), round(v / w)
        return drawn[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)

    seen, unseen, outside = mean_at(11, 5), mean_at(11, 18), mean_at(15, 1)
    assert seen[1] > unseen[1] + 15  # greener (both lie under the shade of the front face)
    assert unseen[0] > seen[0] + 30  # redder
    np.testing.assert_allclose(outside, mean_at(15, 1, bare))


def test_edges_are_drawn_on_the_projected_corners():
    made = estimate()
    drawn = draw(GREY, [track(made)])
    for x, y in np.round(project(made, corners(made.size))[:4]).astype(int):
        patch = drawn[y - 2 : y + 3, x - 2 : x + 3].astype(int)
        assert np.abs(patch - 90).max() > 60


def test_the_input_is_left_alone_and_nothing_changes_without_tracks():
    before = GREY.copy()
    assert np.array_equal(draw(GREY, []), GREY)
    draw(GREY, [track(estimate())])
    np.testing.assert_array_equal(GREY, before)


def test_score_decides_the_colour_of_the_plate():
    for score, colour in ((0.9, VISIBLE), (0.1, HIDDEN)):
        drawn = draw(GREY, [track(estimate(score=score, occlusion=np.full((16, 24), -1, np.int8)))])
        assert (drawn == np.array(colour)).all(axis=2).any()


def test_an_occluded_object_looks_other_than_a_tracked_one_and_predicted_cells_are_not_drawn():
    bare = estimate(occlusion=np.full((16, 24), -1, np.int8))
    tracked = track(bare)
    occluded = dataclasses.replace(tracked, state=State.OCCLUDED)
    assert not (draw(GREY, [tracked]) == np.array(HIDDEN)).all(axis=2).any()
    assert (draw(GREY, [occluded]) == np.array(HIDDEN)).all(axis=2).any()
    old = dataclasses.replace(track(estimate()), predicted=True)
    same = dataclasses.replace(tracked, predicted=True)
    np.testing.assert_array_equal(draw(GREY, [old]), draw(GREY, [same]))


def test_an_object_without_a_box_of_the_detector_is_drawn():
    alone = dataclasses.replace(track(estimate()), detection=None, box=BOX)
    assert (draw(GREY, [alone]) != GREY).any()


@pytest.mark.parametrize(
    "shift", [(-3.0, 0.0, 0.0), (0.0, -2.0, 0.0), (0.0, 0.0, -3.6), (40, 0, 0)]
)
def test_objects_cut_by_the_border_or_by_the_camera_plane_do_not_break_it(shift):
    made = estimate()
    T = made.T_cam_obj.copy()
    T[:3, 3] += shift
    drawn = draw(GREY, [track(dataclasses.replace(made, T_cam_obj=T), (-50.0, -20.0, 60.0, 80.0))])
    assert drawn.shape == GREY.shape


def test_the_nearer_object_is_drawn_last():
    near, far = estimate(), estimate()
    T = far.T_cam_obj.copy()
    T[:3, 3] *= 1.5
    far = dataclasses.replace(far, T_cam_obj=T)
    both = [track(near), track(far)]
    np.testing.assert_array_equal(draw(GREY, both), draw(GREY, both[::-1]))
