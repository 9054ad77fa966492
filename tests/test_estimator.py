# SPDX-License-Identifier: Apache-2.0
"""From image, intrinsics and box to a metric pose, on pictures whose true pose is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from scipy.spatial.transform import Rotation

from nemo_model import Estimate, Estimator, Given
from nemo_model.bundle import BundleError
from nemo_model.calibration import Calibration, Logistic, Spread
from nemo_model.camera import Camera
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.evidence import STATISTICS, VIEW
from nemo_model.pose import geodesic, rotation_from_angles, transform

CAMERA = Camera(np.array([[600.0, 0, 330], [0, 600.0, 230], [0, 0, 1]]), 640, 480)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("estimator") / "tiny")


@pytest.fixture(scope="module")
def estimator(folder: Path) -> Estimator:
    return Estimator.load(folder)


def pose(
    azimuth_deg: float, elevation_deg: float, at: tuple[float, float], z: float,
    theta_deg: float = 0.0, camera: Camera = CAMERA,
) -> np.ndarray:  # fmt: skip
    """T_cam_obj whose viewpoint is about the one given, seen at a pixel, at depth z in metres."""
    ray = camera.ray(*at)
    turn, _ = Rotation.align_vectors(ray[None], [[0, 0, 1]])  # so that the crop shows the angles
    R = turn.as_matrix() @ rotation_from_angles(
        *np.radians([azimuth_deg, elevation_deg, theta_deg])
    )
    return transform(R, ray / ray[2] * z)


def errors(estimate: Estimate, T: np.ndarray) -> tuple[float, float]:
    """Rotation error in degrees; position error as a share of the distance."""
    off = np.linalg.norm(estimate.position - T[:3, 3]) / np.linalg.norm(T[:3, 3])
    return float(np.degrees(geodesic(estimate.rotation, T[:3, :3]))), float(off)


SCENE = pose(125.0, 15.0, (420, 260), 14.0)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Image and box of SCENE."""
    return tiny.photo(CAMERA, SCENE)


# --- the pose


def test_poses_all_around_are_found(estimator: Estimator) -> None:
    found = []
    for k, azimuth in enumerate(range(15, 375, 30)):
        at = (150 + 31 * k, 140 + 60 * (k % 4))
        T = pose(azimuth, 8 + 5 * (k % 5), at, 12 + (5 * k) % 12, theta_deg=3 * (k % 3) - 3)
        image, box = tiny.photo(CAMERA, T, seed=k)
        estimate = estimator.estimate(image, CAMERA.K, box)
        assert estimate.mode == "cold"
        found.append(errors(estimate, T))
    rotation, position = np.array(found).T
    assert np.median(rotation) < 2.5
    assert rotation.max() < 10.0
    assert np.median(position) < 0.02
    assert position.max() < 0.06


@pytest.mark.parametrize("at", [(90, 80), (560, 90), (80, 400), (570, 390)])
def test_far_from_the_centre_the_rotation_is_the_cameras_not_the_crops(
    estimator: Estimator, at: tuple[float, float]
) -> None:
    """At up to 37 degrees from the axis a crop that only shifts would be wrong by as much."""
    camera = Camera(np.array([[420.0, 0, 320], [0, 420.0, 240], [0, 0, 1]]), 640, 480)
    T = pose(40.0, 12.0, at, 15.0, camera=camera)
    image, box = tiny.photo(camera, T)
    estimate = estimator.estimate(image, camera.K, box)
    rotation, position = errors(estimate, T)
    assert rotation < 10.0
    assert position < 0.08
    turned = np.degrees(geodesic(estimate.crop.R_crop_cam @ estimate.rotation, T[:3, :3]))
    assert turned > 20.0


def test_the_projected_cuboid_fills_the_box(estimator: Estimator, scene: Any) -> None:
    image, box = scene
    estimate = estimator.estimate(image, CAMERA.K, box)
    points = estimator.mesh.vertices * estimator.metres_per_unit
    uv = CAMERA.project(points @ estimate.rotation.T + estimate.position)
    found = np.concatenate([uv.min(axis=0), uv.max(axis=0)])
    np.testing.assert_allclose(found, box, atol=0.05 * (box[2] - box[0]))


def test_half_the_resolution_gives_the_same_pose(estimator: Estimator) -> None:
    half = Camera(np.diag([0.5, 0.5, 1.0]) @ CAMERA.K, 320, 240)
    image, box = tiny.photo(half, SCENE)
    rotation, position = errors(estimator.estimate(image, half.K, box), SCENE)
    assert rotation < 5.0
    assert position < 0.03


def test_an_object_cut_by_the_images_edge(estimator: Estimator) -> None:
    T = pose(215.0, 12.0, (590, 250), 12.0)
    image, box = tiny.photo(CAMERA, T)
    assert box[2] == 639.0
    rotation, position = errors(estimator.estimate(image, CAMERA.K, box), T)
    assert rotation < 10.0
    assert position < 0.06


def test_rough_boxes_are_good_enough(estimator: Estimator, scene: Any) -> None:
    image, box = scene
    w, h = box[2] - box[0], box[3] - box[1]
    for shift in ([-0.05, 0.03, 0.03, 0.05], [0.04, -0.05, 0.05, -0.03], [0.05, 0.0, 0.05, 0.0]):
        moved = box + np.array(shift) * [w, h, w, h]
        rotation, position = errors(estimator.estimate(image, CAMERA.K, moved), SCENE)
        assert rotation < 12.0
        assert position < 0.08


# --- metres


def test_a_known_size_sets_the_distance(estimator: Estimator, folder: Path, scene: Any) -> None:
    """Seen as large, an object twice as big is twice as far away; its orientation is the same."""
    image, box = scene
    plain = estimator.estimate(image, CAMERA.K, box)
    double = Estimator.load(folder, size_m=2.0 * estimator.size)
    found = double.estimate(image, CAMERA.K, box)
    np.testing.assert_allclose(found.size, 2.0 * plain.size)
    np.testing.assert_allclose(found.position, 2.0 * plain.position, rtol=0.02)
    assert np.degrees(geodesic(found.rotation, plain.rotation)) < 2.0


def test_the_prior_of_the_size_widens_the_distance(
    estimator: Estimator, folder: Path, scene: Any
) -> None:
    image, box = scene
    plain = estimator.estimate(image, CAMERA.K, box)
    known = Estimator.load(folder, size_m=estimator.size).estimate(image, CAMERA.K, box)
    assert known.position == pytest.approx(plain.position, rel=0.02)
    distance = float(np.linalg.norm(plain.position))
    ray = plain.position / distance
    along = [float(np.sqrt(ray @ e.covariance[:3, :3] @ ray)) for e in (plain, known)]
    assert along[0] > 0.1 * distance > along[1]  # the tiny card says 10 %


def test_the_size_is_that_of_the_card(estimator: Estimator) -> None:
    np.testing.assert_allclose(estimator.size, tiny.METRES_PER_UNIT * tiny.SIZE, rtol=1e-6)
    assert estimator.category == "car"


# --- starts


def test_a_warm_start_climbs_from_the_prior(estimator: Estimator, scene: Any) -> None:
    image, box = scene
    off = Rotation.from_rotvec(np.radians([5.0, 12.0, -6.0])).as_matrix()
    prior = transform(off @ SCENE[:3, :3], SCENE[:3, 3] * 1.06)
    estimate = estimator.estimate(image, CAMERA.K, box, prior=prior)
    assert estimate.mode == "warm"
    rotation, position = errors(estimate, SCENE)
    assert rotation < 4.0
    assert position < 0.02


def test_the_papers_protocol_keeps_what_is_given(estimator: Estimator, scene: Any) -> None:
    image, box = scene
    centre = CAMERA.project(SCENE[None, :3, 3])[0]
    given = Given(centre, SCENE[2, 3] / tiny.METRES_PER_UNIT)
    estimate = estimator.estimate(image, CAMERA.K, box, given=given)
    np.testing.assert_allclose(estimate.position, SCENE[:3, 3], rtol=1e-5)
    assert errors(estimate, SCENE)[0] < 4.0


def test_the_same_input_gives_the_same_bytes(estimator: Estimator, scene: Any) -> None:
    """Also with another image in between: no state is left in the buffers."""
    image, box = scene
    first = estimator.estimate(image, CAMERA.K, box)
    other, other_box = tiny.photo(CAMERA, pose(300.0, 20.0, (300, 200), 10.0), seed=3)
    estimator.estimate(other, CAMERA.K, other_box)
    again = estimator.estimate(image, CAMERA.K, box)
    assert first.T_cam_obj.tobytes() == again.T_cam_obj.tobytes()
    assert first.covariance.tobytes() == again.covariance.tobytes()
    assert first.occlusion.tobytes() == again.occlusion.tobytes()
    assert (first.energy, first.margin, first.score) == (again.energy, again.margin, again.score)


# --- what it says about itself


def test_an_estimate_is_complete(estimator: Estimator, scene: Any) -> None:
    image, box = scene
    estimate = estimator.estimate(image, CAMERA.K, box)
    assert estimate.T_cam_obj.shape == (4, 4)
    np.testing.assert_allclose(estimate.rotation @ estimate.rotation.T, np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(estimate.T_cam_obj[3], [0, 0, 0, 1])
    np.testing.assert_allclose(estimate.covariance, estimate.covariance.T, rtol=1e-9)
    assert np.linalg.eigvalsh(estimate.covariance).min() > 0.0
    assert 0.0 <= estimate.score_10 <= estimate.score <= 1.0
    assert set(estimate.statistics) == {*STATISTICS, *VIEW, "relative_margin"}
    assert estimate.solution is not None
    assert estimate.occlusion.shape == estimate.crop.map_size == (16, 24)
    assert estimate.occlusion.dtype == np.int8
    seen, hidden = (int((estimate.occlusion == value).sum()) for value in (1, 0))
    assert estimate.visible_fraction == pytest.approx(seen / (seen + hidden))
    assert estimate.visible_fraction > 0.85
    assert estimate.energy > 0.0
    assert set(estimate.milliseconds) == {"crop", "features", "solve", "total"}
    parts = sum(estimate.milliseconds[name] for name in ("crop", "features", "solve"))
    assert 0.0 < parts <= estimate.milliseconds["total"]


def test_a_hidden_part_is_seen_as_hidden(estimator: Estimator, scene: Any) -> None:
    """A grey board over the right 45 % of the box: the map shows where, the pose survives."""
    image, box = scene
    plain = estimator.estimate(image, CAMERA.K, box)
    covered = image.copy()
    edge = int(box[2] - 0.45 * (box[2] - box[0]))
    covered[:, edge:] = 128
    estimate = estimator.estimate(covered, CAMERA.K, box)
    assert errors(estimate, SCENE)[0] < 8.0
    assert estimate.visible_fraction < plain.visible_fraction - 0.25
    assert estimate.energy < plain.energy
    column = estimate.crop.H_crop_image @ [edge, (box[1] + box[3]) / 2, 1.0]
    cell = (column[0] / column[2] - 7.0) / 8.0
    columns = np.arange(24)[None].repeat(16, axis=0)
    right = estimate.occlusion[(columns > cell + 1) & (estimate.occlusion >= 0)]
    left = estimate.occlusion[(columns < cell - 1) & (estimate.occlusion >= 0)]
    assert (right == 0).mean() > 0.9
    assert (left == 1).mean() > 0.85


def test_an_empty_wall_is_not_believed(estimator: Estimator, scene: Any) -> None:
    _, box = scene
    wall = np.full((480, 640, 3), 128, dtype=np.uint8)
    estimate = estimator.estimate(wall, CAMERA.K, box)
    assert np.isfinite(estimate.T_cam_obj).all()
    assert np.isfinite(estimate.covariance).all()
    assert estimate.score < 0.2
    assert estimate.visible_fraction < 0.2


def test_a_calibrated_card_decides_the_score_and_the_covariance(
    estimator: Estimator, tmp_path: Path, scene: Any
) -> None:
    image, box = scene
    plain = estimator.estimate(image, CAMERA.K, box)
    calibration = Calibration(
        means={"visible_fraction": 0.5}, deviations={"visible_fraction": 0.1},
        within_30=Logistic(intercept=0.7, weights={"visible_fraction": 0.0}),
        within_10=Logistic(intercept=-0.2, weights={}),
        even_30=Logistic(intercept=1.3, weights={}), even_10=Logistic(intercept=-0.9, weights={}),
        spread=Spread(curvature=9.0), data="by hand",
    )  # fmt: skip
    folder = tiny.write(tmp_path / "b", calibration=calibration)
    found = Estimator.load(folder).estimate(image, CAMERA.K, box)
    assert found.score == pytest.approx(1 / (1 + np.exp(-0.7)))
    assert found.score_10 == pytest.approx(1 / (1 + np.exp(0.2)))
    np.testing.assert_allclose(found.covariance[3:, 3:], 9.0 * plain.covariance[3:, 3:], rtol=1e-6)
    even = Estimator.load(folder, even_views=True).estimate(image, CAMERA.K, box)
    assert even.score == pytest.approx(1 / (1 + np.exp(-1.3)))
    assert even.score_10 == pytest.approx(1 / (1 + np.exp(0.9)))


# --- bad input


GOOD = np.zeros((480, 640, 3), dtype=np.uint8)
BOX = (100, 100, 200, 180)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": GOOD.astype(np.float32)}, "image: .* needs uint8"),
        ({"image": GOOD[..., 0]}, "image: .* needs uint8"),
        ({"image": np.zeros((480, 640, 4), np.uint8)}, "image: .* needs uint8"),
        ({"image": np.zeros((0, 640, 3), np.uint8)}, "image: .* needs uint8"),
        ({"K": np.zeros((3, 3))}, "not calibrated"),
        ({"K": np.full((3, 3), np.nan)}, "NaN"),
        ({"K": np.eye(4)}, r"shape \(4, 4\)"),
        ({"box": (100, np.nan, 200, 180)}, "box: .*NaN"),
        ({"box": (200, 100, 100, 180)}, "box: is empty"),
        ({"box": (700, 100, 800, 180)}, "outside the 640 x 480 image"),
        ({"box": (100, 100, 200)}, "box: has shape"),
        ({"prior": np.full((4, 4), np.nan)}, "prior"),
        ({"prior": np.eye(3)}, "prior"),
        ({"prior": transform(np.eye(3), np.array([0, 0, -5.0]))}, "prior: .*in front"),
        ({"prior": transform(np.diag([1, 1, -1.0]), np.array([0, 0, 5.0]))}, "no rotation"),
        ({"prior": transform(2 * np.eye(3), np.array([0, 0, 5.0]))}, "no rotation"),
        ({"prior": transform(np.eye(3), np.array([50.0, 0, 1e-3]))}, "prior: .*behind"),
        ({"given": Given(np.array([np.nan, 3.0]), 2.0)}, "given: centre"),
        ({"given": Given(np.array([1.0, 2.0, 3.0]), 2.0)}, "given: centre"),
        ({"given": Given(np.array([100.0, 120.0]), 0.0)}, "given: distance"),
        ({"given": Given(np.array([100.0, 120.0]), np.nan)}, "given: distance"),
    ],
)
def test_bad_input_is_refused_by_name(
    estimator: Estimator, changes: dict[str, Any], message: str
) -> None:
    arguments = {"image": GOOD, "K": CAMERA.K, "box": BOX} | changes
    with pytest.raises(NemoError, match=message):
        estimator.estimate(**arguments)


@pytest.mark.parametrize("size", [(1, 2), (1, 0, 2), (1, np.nan, 2), (-1, 4, 2)])
def test_a_size_that_is_none_is_refused(folder: Path, size: tuple[float, ...]) -> None:
    with pytest.raises(NemoError, match="size"):
        Estimator.load(folder, size_m=size)


def test_a_backbone_of_another_width_is_refused_when_loaded(tmp_path: Path) -> None:
    tiny.write(tmp_path / "b", backbone=tiny.backbone(tiny.CHANNELS + 4))
    with pytest.raises(BundleError, match=f"gives {tiny.CHANNELS + 4} channels"):
        Estimator.load(tmp_path / "b")


def test_a_calibration_of_another_version_is_refused_when_loaded(tmp_path: Path) -> None:
    some = Logistic(intercept=0.0, weights={"mood": 1.0})
    strange = Calibration(
        means={"mood": 0.0}, deviations={"mood": 1.0}, within_30=some, within_10=some,
        even_30=some, even_10=some, data="another version",
    )  # fmt: skip
    tiny.write(tmp_path / "b", calibration=strange)
    with pytest.raises(BundleError, match="mood"):
        Estimator.load(tmp_path / "b")


def test_running_needs_neither_torch_nor_ros(folder: Path) -> None:
    program = (
        "import sys; from nemo_model import Estimator; Estimator.load(sys.argv[1]);"
        "print([m for m in ('torch', 'onnx', 'rclpy', 'rosbags') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- the model that ships, on photos


def test_the_car_model_on_photos_of_other_cars(repository: Path, shared_data: Path) -> None:
    """16 photos of car models it was not trained on; `nemo evaluate` gives the real figures."""
    root, model = shared_data / "stanford_cars3d", repository / "models" / "car"
    if not (model / "card.json").is_file():
        pytest.fail("models/car is shipped, and is missing in this checkout")
    if not root.is_dir():
        pytest.skip(f"no {root}")
    car = Estimator.load(model)
    photos = Pascal3D(root, "car", split="val").objects
    found = [
        np.degrees(
            geodesic(car.estimate(item.read_image(), item.K, item.box).rotation, item.R_cam_obj)
        )
        for item in photos[:: len(photos) // 16][:16]
    ]
    assert np.mean(np.array(found) < 30.0) >= 0.9


def test_an_estimate_prints_in_one_line(estimator: Estimator, scene: tuple[Any, Any]) -> None:
    image, box = scene
    text = repr(estimator.estimate(image, CAMERA.K, box))
    assert "\n" not in text
    assert text.startswith("Estimate(car, cold, at (")
    assert len(text) < 100


def test_a_box_that_is_no_numbers_is_refused(estimator: Estimator, scene: tuple[Any, Any]) -> None:
    with pytest.raises(NemoError, match="box: 'abc' must be four numbers"):
        estimator.estimate(scene[0], CAMERA.K, "abc")
