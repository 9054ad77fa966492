# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera, and the virtual camera turned to a box with the image that it takes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.camera import FIRST_CELL, STRIDE, Camera, CropCamera, check_box, crop_camera
from nemo_model.errors import NemoError

K = np.array([[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]])
CAMERA = Camera(K, 640, 480)
W, H = 192, 128

focals = st.floats(80.0, 4000.0)
fractions = st.tuples(*[st.floats(0.0, 1.0)] * 2)


def box_in(camera: Camera, at: tuple[float, float], span: float, aspect: float) -> list[float]:
    """A box of `span` pixels on its longer side, its centre inside the image."""
    u, v = at[0] * (camera.width - 1), at[1] * (camera.height - 1)
    w, h = span * min(aspect, 1.0), span * min(1.0 / aspect, 1.0)
    return [u - w / 2, v - h / 2, u + w / 2, v + h / 2]


def through(H_crop_image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) under a homography."""
    return cv2.perspectiveTransform(np.asarray(pixels, float)[None], H_crop_image)[0]


# --- Camera


def test_projection_and_ray_by_hand() -> None:
    found = CAMERA.project(np.array([[1.0, 2.0, 10.0], [0.0, 0.0, 3.0]]))
    np.testing.assert_allclose(found, [[370.0, 342.0], [320.0, 240.0]])
    np.testing.assert_allclose(CAMERA.ray(320, 240), [0, 0, 1])
    np.testing.assert_allclose(CAMERA.ray(820, 240), np.array([1, 0, 1]) / math.sqrt(2))


@holds_for(st.floats(-200, 900), st.floats(-200, 700), st.floats(0.1, 100))
def test_ray_and_projection_are_inverse(u, v, depth) -> None:
    ray = CAMERA.ray(u, v)
    assert np.linalg.norm(ray) == pytest.approx(1.0)
    np.testing.assert_allclose(CAMERA.project(depth * ray[None]), [[u, v]], atol=1e-9)


def _changed(row: int, column: int, value: float) -> np.ndarray:
    changed = K.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3, 3)), "not calibrated"),
        (np.eye(3), "identity"),
        (_changed(0, 0, 0.0), "not calibrated"),
        (_changed(1, 1, -500.0), "not calibrated"),
        (_changed(0, 2, np.nan), "NaN"),
        (_changed(1, 2, np.inf), "NaN or infinite"),
        (K[:2], r"shape \(2, 3\)"),
        (np.eye(4), r"shape \(4, 4\)"),
        (_changed(2, 2, 0.0), "last row"),
        (K.T, "last row"),
    ],
)
def test_a_camera_that_is_none_is_refused(matrix, message) -> None:
    with pytest.raises(NemoError, match=message):
        Camera(matrix, 640, 480)


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(NemoError, match="0 x 480"):
        Camera(K, 0, 480)


# --- boxes


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 20), r"shape \(3,\)"),
        (((10, 10), (20, 20)), r"shape \(2, 2\)"),
        ((10, np.nan, 20, 30), "NaN"),
        ((10, 10, np.inf, 30), "infinite"),
        ((20, 10, 10, 30), "empty"),
        ((10, 10, 10.5, 30), "smaller than a pixel"),
        ((-50, 10, -1, 30), "outside the 640 x 480 image"),
        ((10, -30, 40, 0), "outside"),
        ((639, 10, 700, 30), "outside"),
        ((10, 480, 20, 490), "outside"),
    ],
)
def test_a_bad_box_is_refused(box, message) -> None:
    with pytest.raises(NemoError, match=message):
        check_box(box, 640, 480)
    with pytest.raises(NemoError, match=message):
        crop_camera(CAMERA, box, W, H)


@pytest.mark.parametrize("box", [(0, 0, 639, 479), (-100, -50, 700, 600), (600, 400, 640, 480)])
def test_boxes_at_and_over_the_edge_are_accepted(box) -> None:
    np.testing.assert_array_equal(check_box(box, 640, 480), box)


def test_a_box_wider_than_a_pinhole_can_see_is_refused() -> None:
    wide = Camera(np.array([[50.0, 0, 320], [0, 50.0, 240], [0, 0, 1]]), 640, 480)
    with pytest.raises(NemoError, match="more than the virtual camera can see"):
        crop_camera(wide, (-3000, 200, 640, 280), W, H)


# --- the crop camera's geometry


def test_a_box_on_the_optical_axis_is_only_scaled() -> None:
    """By hand: 100 x 50 px, centred; width decides: 0.86 * 192 / 100 = 1.6512."""
    camera = Camera(np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), 640, 480)
    crop = crop_camera(camera, (270, 215, 370, 265), W, H)
    np.testing.assert_allclose(crop.R_crop_cam, np.eye(3), atol=1e-12)
    assert crop.scale == pytest.approx(1.6512)
    assert crop.K[0, 0] == crop.K[1, 1] == pytest.approx(825.6)
    corners = through(crop.H_crop_image, [[270, 215], [370, 265]])
    np.testing.assert_allclose(
        corners, [[95.5 - 82.56, 63.5 - 41.28], [95.5 + 82.56, 63.5 + 41.28]]
    )


@holds_for(focals, fractions, st.floats(4.0, 900.0), st.floats(0.3, 3.0), examples=100)
def test_a_pose_in_the_crop_turned_back_projects_to_the_same_pixels(f, at, span, aspect) -> None:
    camera = Camera(np.array([[f, 0, 300.0], [0, 1.1 * f, 250.0], [0, 0, 1]]), 640, 480)
    try:
        crop = crop_camera(camera, box_in(camera, at, span, aspect), W, H)
    except NemoError as error:
        assume("more than the virtual camera" not in str(error))
        raise
    R = crop.R_crop_cam
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    points_crop = np.random.default_rng(0).uniform(-0.2, 0.2, (10, 3))
    points_crop[:, 2] += 1.0
    in_crop = points_crop @ crop.K.T
    in_crop = in_crop[:, :2] / in_crop[:, 2:]
    points_cam = points_crop @ R  # R_cam_crop = R_crop_cam.T
    assume((points_cam[:, 2] > 0.05).all())
    moved = through(crop.H_crop_image, camera.project(points_cam))
    np.testing.assert_allclose(moved, in_crop, atol=1e-6)


@holds_for(focals, fractions, st.floats(4.0, 600.0), st.floats(0.3, 3.0), examples=100)
def test_the_box_is_centred_and_fills_its_share(f, at, span, aspect) -> None:
    camera = Camera(np.array([[f, 0, 300.0], [0, f, 250.0], [0, 0, 1]]), 640, 480)
    box = box_in(camera, at, span, aspect)
    try:
        crop = crop_camera(camera, box, W, H, fill=0.8)
    except NemoError as error:
        assume("more than the virtual camera" not in str(error))
        raise
    x1, y1, x2, y2 = box
    centre = through(crop.H_crop_image, [[(x1 + x2) / 2, (y1 + y2) / 2]])[0]
    np.testing.assert_allclose(centre, [(W - 1) / 2, (H - 1) / 2], atol=1e-6)
    corners = through(crop.H_crop_image, [[x1, y1], [x2, y1], [x1, y2], [x2, y2]])
    share = np.ptp(corners, axis=0) / [W, H]
    assert share.max() == pytest.approx(0.8)


def test_turning_is_the_smallest_rotation() -> None:
    """It turns by the angle of the box centre's ray and about an axis in the image plane."""
    crop = crop_camera(CAMERA, (560, 60, 600, 100), W, H)
    ray = CAMERA.ray(580, 80)
    angle = math.acos((np.trace(crop.R_crop_cam) - 1) / 2)
    assert angle == pytest.approx(math.acos(ray[2]))
    np.testing.assert_allclose(crop.R_crop_cam @ ray, [0, 0, 1], atol=1e-12)
    assert crop.R_crop_cam[0, 1] == pytest.approx(crop.R_crop_cam[1, 0])  # no roll


def test_scale_is_the_magnification_at_the_centre_of_a_small_box() -> None:
    crop = crop_camera(CAMERA, (315, 236, 325, 244), W, H)
    two = through(crop.H_crop_image, [[319.5, 240], [320.5, 240]])
    assert two[1, 0] - two[0, 0] == pytest.approx(crop.scale, rel=0.02)


def test_cells_of_the_map_are_centred_on_pixel_8i_plus_7() -> None:
    crop = crop_camera(CAMERA, (200, 100, 400, 250), W, H)
    assert crop.map_size == (16, 24)
    point = np.array([[0.03, -0.02, 1.0]])
    u, v = (point @ crop.K.T)[0, :2]
    j, i = (point @ crop.map_K().T)[0, :2]
    assert (STRIDE, FIRST_CELL) == (8, 7.0)
    assert (8 * j + 7, 8 * i + 7) == pytest.approx((u, v))
    np.testing.assert_array_equal(crop.map_K()[2], [0, 0, 1])


# --- the crop's image


def blob(shape: tuple[int, int], u: float, v: float, sigma: float) -> np.ndarray:
    """Mid grey (what a crop shows outside the image) with a bright spot at (u, v)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    value = 128 + 120 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(value)[..., None], 3, axis=2).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = np.clip(image[..., 0].astype(float) - 130.0, 0.0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [0.1, 0.15, 0.26, 0.34, 0.49, 0.5, 0.51, 0.75, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.37, -0.81), (-1.5, 2.25)])
def test_nothing_shifts_at_any_scale(scale, shift) -> None:
    """A spot in the image is found in the crop where the homography says, to 0.1 px."""
    width, height = 1900, 1300
    camera = Camera(np.array([[3e4, 0, 700.0], [0, 3e4, 500.0], [0, 0, 1]]), width, height)
    span = 0.86 * W / scale
    centre = np.array([900.3, 640.6])
    half = np.array([span / 2, span / 4])
    box = [*(centre - half), *(centre + half)]
    crop = crop_camera(camera, box, W, H)
    assert crop.scale == pytest.approx(scale, rel=0.01)
    at = centre + np.array(shift) * 3.0 / scale
    found = centroid(crop.warp(blob((height, width), *at, sigma=4.0 / scale)))
    np.testing.assert_allclose(found, through(crop.H_crop_image, [at])[0], atol=0.1)


@pytest.mark.parametrize("scale", [0.12, 0.3, 0.8])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_nothing_shifts_at_the_images_corners(scale, corner) -> None:
    """The reduction of large regions begins at the image's edge and ends where it ends."""
    width, height = 1501, 1003
    camera = Camera(np.array([[3e4, 0, 700.0], [0, 3e4, 500.0], [0, 0, 1]]), width, height)
    span = 0.86 * W / scale
    at = np.clip(np.array(corner) * [width - 1, height - 1], 60, [width - 61, height - 61])
    half = np.array([span / 2, span / 4])
    box = [*(at - half), *(at + half)]
    crop = crop_camera(camera, box, W, H)
    found = centroid(crop.warp(blob((height, width), *at, sigma=15.0)))
    np.testing.assert_allclose(found, through(crop.H_crop_image, [at])[0], atol=0.1)


def gradient_image(width: int, height: int) -> np.ndarray:
    """Red rises to the right, green to the bottom: a pixel's colour tells its place."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255.0 / (width - 1), y * 255.0 / (height - 1), np.full(x.shape, 77.0)]
    return np.stack(channels, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("focal", "box"),
    [
        (300.0, (500, 300, 700, 420)),
        (300.0, (0, 0, 1280, 960)),
        (300.0, (900, 500, 1700, 1300)),  # beyond the corner
        (300.0, (-200, -100, 300, 200)),
        (1000.0, (-600, 100, 700, 900)),
        (250.0, (700, 100, 1279, 900)),  # the crop's corner looks past the image plane
        (2000.0, (2, 2, 5, 4)),  # tiny
    ],
)
def test_the_crop_shows_what_its_rays_hit(focal, box) -> None:
    """Every crop pixel has the colour of the image where the inverse homography puts it."""
    width, height = 1280, 960
    camera = Camera(np.array([[focal, 0, 630.0], [0, focal, 480.0], [0, 0, 1]]), width, height)
    crop = crop_camera(camera, box, W, H)
    pixels = crop.warp(gradient_image(width, height)).astype(float)
    assert pixels.shape == (H, W, 3)
    rays = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=2).reshape(-1, 2)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) @ np.linalg.inv(crop.K).T
    rays = rays @ crop.R_crop_cam
    ahead = rays[:, 2] > 1e-3
    at = camera.project(np.where(ahead[:, None], rays, [0, 0, 1]))
    border = 2.0 + 1.5 / crop.scale
    inside = ahead & (at > border).all(1) & (at < [width - 1 - border, height - 1 - border]).all(1)
    outside = (
        ~ahead | (at < -border).any(1) | (at > [width - 1 + border, height - 1 + border]).any(1)
    )
    pixels = pixels.reshape(-1, 3)
    assert inside.sum() > 100
    expected = at[inside] * [255.0 / (width - 1), 255.0 / (height - 1)]
    assert np.abs(pixels[inside, :2] - expected).max() < 3.0
    assert (pixels[outside] == 128).all()


def test_shrinking_does_not_alias() -> None:
    """A one-pixel chequerboard is mid grey from afar; sampling single pixels would show noise."""
    y, x = np.mgrid[:960, :1280]
    board = np.repeat((((x + y) % 2) * 255)[..., None], 3, axis=2).astype(np.uint8)
    camera = Camera(np.array([[900.0, 0, 640], [0, 900.0, 480], [0, 0, 1]]), 1280, 960)
    pixels = crop_camera(camera, (100, 200, 1100, 800), W, H).warp(board)
    assert pixels.std() < 8.0


def test_warp_accepts_views_of_arrays() -> None:
    image = gradient_image(640, 480)
    crop = crop_camera(CAMERA, (200, 100, 400, 250), W, H)
    flipped = crop.warp(image[:, ::-1])
    np.testing.assert_array_equal(flipped, crop.warp(np.ascontiguousarray(image[:, ::-1])))


def test_crop_camera_is_immutable() -> None:
    crop = crop_camera(CAMERA, (200, 100, 400, 250), W, H)
    with pytest.raises(AttributeError):
        crop.scale = 2.0  # type: ignore[misc]
    before = crop.K.copy()
    crop.map_K()
    np.testing.assert_array_equal(crop.K, before)
    assert isinstance(crop, CropCamera)
