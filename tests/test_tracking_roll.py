# SPDX-License-Identifier: Apache-2.0
"""The camera's roll, read from the background, and what a tracker makes of it."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tracking_doubles import FakeEstimator

from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.tracker import Detection, Frame, LateBoxes, Tracker, TrackerConfig
from nemo_model.tracking.memory import Rival
from nemo_model.tracking.motion import swung
from nemo_model.tracking.roll import RollFollower, camera_roll, rolled, small_grey

Image = npt.NDArray[np.uint8]
CAMERA = Camera(np.array([[535.0, 0, 319.5], [0, 535.0, 179.5], [0, 0, 1]]), 640, 360)


def scene(seed: int = 0) -> Image:
    """A far background with corners, (360, 640, 3)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (24, 42, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(blocks, (640, 360), interpolation=cv2.INTER_NEAREST))


def turned(image: Image, pitch: float, yaw: float, roll: float) -> Image:
    """What the camera sees after a turn; degrees about its x, y and z axis."""
    R = Rotation.from_rotvec([pitch, yaw, roll], degrees=True).as_matrix()
    H = CAMERA.K @ R @ np.linalg.inv(CAMERA.K)
    return np.asarray(cv2.warpPerspective(image, H, (640, 360), borderMode=cv2.BORDER_REFLECT))


def measured(before: Image, after: Image, **options: object) -> float:
    grey = (small_grey(before), small_grey(after))
    return math.degrees(camera_roll(*grey, CAMERA, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("roll", [-6.0, -0.7, 0.5, 3.0])
def test_a_roll_is_read_from_the_background(roll: float) -> None:
    image = scene()
    assert measured(image, turned(image, 0.0, 0.0, roll)) == pytest.approx(roll, abs=0.1)


def test_pan_and_tilt_are_no_roll() -> None:
    image = scene()
    assert measured(image, turned(image, 0.0, 4.0, 0.0)) == 0.0
    assert measured(image, turned(image, 3.0, 0.0, 0.0)) == 0.0
    both = measured(image, turned(image, 1.5, -3.0, 2.0))
    assert both == pytest.approx(2.0, abs=0.15)


def test_a_camera_at_rest_does_not_roll() -> None:
    image = scene()
    noise = np.random.default_rng(1).normal(0.0, 4.0, image.shape)
    assert measured(image, np.clip(image + noise, 0, 255).astype(np.uint8)) == 0.0


def test_what_moves_inside_the_boxes_is_left_out() -> None:
    image = scene()
    moved = image.copy()
    turned_part = turned(image, 0.0, 0.0, 8.0)
    moved[40:330, 120:530] = turned_part[40:330, 120:530]  # most of the image
    assert measured(image, moved, objects=[(150.0, 60.0, 500.0, 310.0)]) == 0.0
    assert abs(measured(image, moved)) > 5.0  # it would have been taken for the camera


def test_nothing_to_follow_is_no_roll() -> None:
    image = np.full((360, 640, 3), 90, np.uint8)
    assert measured(image, image) == 0.0
    assert measured(scene(), image) == 0.0
    assert camera_roll(small_grey(scene()), small_grey(scene())[1:], CAMERA) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (4000, 3), (3, 4000)])
def test_an_image_of_odd_size_is_no_roll(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(2).integers(0, 255, (height, width, 3), dtype=np.uint8)
    grey = small_grey(image)
    assert grey.shape[1] <= 320
    camera = Camera(np.array([[500.0, 0, width / 2], [0, 500.0, height / 2], [0, 0, 1]]), *size)
    assert abs(camera_roll(grey, grey, camera, [(-1e9, 0.0, 1e9, 1.0)])) < 1e-6


def test_another_picture_is_no_roll() -> None:
    assert measured(scene(0), scene(1)) == 0.0
    assert measured(scene(0), turned(scene(0), 0.0, 0.0, 40.0)) == 0.0


def test_the_same_images_give_the_same_bytes() -> None:
    image, after = scene(), turned(scene(), 1.0, 2.0, 1.5)
    assert len({measured(image, after) for _ in range(5)}) == 1


@given(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.floats(-0.4, 0.4), st.integers(0, 2**31 - 1))
def test_roll_and_swing_make_the_cameras_turn(x: float, y: float, angle: float, seed: int) -> None:
    """Turned about its ray, then swung onto its new place, an object has turned as the camera."""
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    T[:3, 3] = np.array([x, y, 1.0]) * 7.0
    camera = Rotation.from_rotvec([0.0, 0.0, angle]).as_matrix()
    found = swung(rolled(T, angle), camera @ T[:3, 3])
    np.testing.assert_allclose(found, camera @ T[:3, :3], atol=1e-9)


def test_a_camera_that_moves_along_over_a_floor_does_not_roll() -> None:
    """The flow of a plane has a part that looks like a roll, and a larger one that does not."""
    R = Rotation.from_rotvec([-60.0, 0.0, 0.0], degrees=True).as_matrix()  # looks down on it
    normal = R @ np.array([0.0, 1.0, 0.0])
    for step in (0.03, 0.08):
        H = np.eye(3) - np.outer(np.array([step, 0.0, 0.0]), normal)
        H = CAMERA.K @ H @ np.linalg.inv(CAMERA.K)
        for seed in range(3):
            image = scene(seed)
            after = cv2.warpPerspective(image, H, (640, 360), borderMode=cv2.BORDER_REFLECT)
            assert abs(measured(image, np.asarray(after))) < 0.15


def test_a_follower_compares_with_the_last_frame() -> None:
    image, box = scene(), [(300.0, 150.0, 340.0, 200.0)]
    follower = RollFollower()
    assert follower.step(image, CAMERA, [], True, 150) == 0.0  # nothing before it
    after = turned(image, 0.0, 0.0, 2.0)
    roll = math.degrees(follower.step(after, CAMERA, box, True, 150))
    assert roll == pytest.approx(2.0, abs=0.1)
    roll = math.degrees(follower.step(image, CAMERA, box, False, 150))
    assert roll == pytest.approx(-2.0, abs=0.1)


def test_a_slow_roll_is_not_lost() -> None:
    image, box = scene(), [(300.0, 150.0, 340.0, 200.0)]
    follower = RollFollower()
    found = [
        follower.step(turned(image, 0.0, 0.0, 0.15 * k), CAMERA, box, True, 150) for k in range(21)
    ]
    assert math.degrees(sum(found)) == pytest.approx(3.0, abs=0.5)


def test_a_follower_forgets_what_it_cannot_compare_with() -> None:
    image, box = scene(), [(300.0, 150.0, 340.0, 200.0)]
    after = turned(image, 0.0, 0.0, 2.0)
    follower = RollFollower()
    follower.step(image, CAMERA, box, True, 150)
    assert follower.step(after, CAMERA, [], False, 150) == 0.0  # nothing is known or comes
    assert follower.step(image, CAMERA, box, True, 150) == 0.0  # so there was none before
    wide = Camera(CAMERA.K * np.array([[0.5], [0.5], [1.0]]), 640, 360)
    assert follower.step(after, wide, box, True, 150) == 0.0  # another lens
    large = Camera(wide.K, 1280, 720)
    assert follower.step(np.repeat(np.repeat(image, 2, 0), 2, 1), large, box, True, 150) == 0.0
    assert RollFollower().step(image, CAMERA, box, True, 0) == 0.0


BOX = (280.0, 150.0, 360.0, 210.0)


def tracked(roll_corners: int) -> tuple[Tracker, float]:
    """A tracker that saw a parked car before a camera that rolled by 3 degrees; its roll then.

    The estimator double keeps the pose that it starts from.
    """
    config = TrackerConfig(cold_every=0, grid_deg=0.0, roll_corners=roll_corners)
    tracker = Tracker({"car": FakeEstimator()}, config)
    image = scene()
    boxes = (Detection(BOX, "car"),)
    tracker.step(Frame(image, CAMERA, 0, boxes))
    before = tracker.memories["car-1"].estimate
    assert before is not None
    after = turned(image, 0.0, 0.0, 3.0)
    result = tracker.step(Frame(after, CAMERA, 83_000_000, boxes))
    found = result.tracks[0].estimate.T_cam_obj[:3, :3] @ before.T_cam_obj[:3, :3].T
    return tracker, float(Rotation.from_matrix(found).as_rotvec(degrees=True)[2])


def test_a_tracked_object_turns_with_the_camera() -> None:
    assert tracked(100)[1] == pytest.approx(3.0, abs=0.2)
    assert tracked(0)[1] == pytest.approx(0.0, abs=0.2)


def test_all_that_is_remembered_turns() -> None:
    memory = tracked(0)[0].memories["car-1"]
    assert memory.estimate is not None
    assert memory.trusted is not None
    memory.rival = Rival(memory.estimate.T_cam_obj.copy(), 0.0)
    T, trusted, box = memory.estimate.T_cam_obj, memory.trusted.T, memory.box
    memory.roll(0.2)
    np.testing.assert_allclose(memory.estimate.T_cam_obj, rolled(T, 0.2))
    np.testing.assert_allclose(memory.trusted.T, rolled(trusted, 0.2))
    np.testing.assert_allclose(memory.rival.T, rolled(T, 0.2))
    assert memory.box[3] - memory.box[1] > box[3] - box[1]  # a tilted car is higher
    memory.roll(0.0)
    np.testing.assert_allclose(memory.estimate.T_cam_obj, rolled(T, 0.2))


def test_the_setting_holds_from_the_next_frame_on() -> None:
    tracker, _ = tracked(150)
    tracker.config = dataclasses.replace(tracker.config, roll_corners=0)
    before = tracker.memories["car-1"].estimate
    again = turned(scene(), 0.0, 0.0, 6.0)
    result = tracker.step(Frame(again, CAMERA, 166_000_000, (Detection(BOX, "car"),)))
    assert before is not None
    found = result.tracks[0].estimate.T_cam_obj[:3, :3] @ before.T_cam_obj[:3, :3].T
    assert Rotation.from_matrix(found).magnitude() < math.radians(0.5)


@pytest.mark.parametrize("corners", [1, 19])
def test_too_few_corners_are_refused(corners: int) -> None:
    with pytest.raises(NemoError, match="roll_corners"):
        TrackerConfig(roll_corners=corners)


def test_a_box_that_comes_late_meets_a_camera_that_has_rolled() -> None:
    """A parked car, boxes three frames late: the roll between is no motion of the car."""
    config = TrackerConfig(cold_every=0, grid_deg=0.0)
    tracker = Tracker({"car": FakeEstimator()}, config)
    rolls = [0.0] * 5 + [3.0] * 4
    stamps = [83_000_000 * k for k in range(len(rolls))]
    read = []
    for k, roll in enumerate(rolls):
        late = (LateBoxes(stamps[k - 3], (Detection(BOX, "car"),)),) if k >= 3 else ()
        tracker.step(Frame(turned(scene(), 0.0, 0.0, roll), CAMERA, stamps[k], (), late))
        read.append(math.degrees(tracker.pictures[-1].roll))
        if k < 3:
            continue
        # the double keeps what it starts from: as upright as the first look, plus the camera's roll
        memory = tracker.memories["car-1"]
        assert memory.estimate is not None
        assert memory.trusted is not None
        R = memory.estimate.T_cam_obj[:3, :3]
        apart = Rotation.from_matrix(R @ memory.trusted.T[:3, :3].T).magnitude()
        assert math.degrees(apart) < 0.5
        assert np.linalg.norm(memory.motion.turn) < math.radians(2.0)
    assert read == pytest.approx([0.0] * 5 + [3.0] + [0.0] * 3, abs=0.1)
