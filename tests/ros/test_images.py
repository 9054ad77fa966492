# SPDX-License-Identifier: Apache-2.0
"""Every encoding, padded rows, both byte orders; lens distortion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_ros.images import ImageError, decode_raw
from nemo_ros.rectify import Distortion, Rectifier

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])


def smooth(width: int = 32, height: int = 24) -> np.ndarray:
    """A smooth RGB image (height, width, 3): what Bayer and YUV lose of it is little."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([60 + 4 * x, 200 - 4 * y, 80 + 2 * x + y], 2).clip(0, 255).astype(np.uint8)


def padded(rows: np.ndarray, padding: int) -> tuple[np.ndarray, int]:
    """Bytes of rows (H, ...) with garbage behind each row, and the step."""
    flat = rows.reshape(rows.shape[0], -1)
    as_bytes = np.ascontiguousarray(flat).view(np.uint8).reshape(rows.shape[0], -1)
    garbage = np.full((rows.shape[0], padding), 0xAB, np.uint8)
    joined = np.concatenate([as_bytes, garbage], 1)
    return joined.reshape(-1), joined.shape[1]


@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize(
    ("encoding", "conversion"),
    [
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
        ("8UC3", cv2.COLOR_RGB2BGR),
    ],
)
def test_colour_orders(encoding: str, conversion: int | None, padding: int) -> None:
    image = smooth()
    raw = image if conversion is None else cv2.cvtColor(image, conversion)
    data, step = padded(raw, padding)
    np.testing.assert_array_equal(decode_raw(encoding, 32, 24, step, False, data), image)


@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_in_both_byte_orders(big: bool) -> None:
    image = smooth()
    wide = (image.astype(np.uint16) << 8 | 0x37).astype(">u2" if big else "<u2")
    data, step = padded(wide, 6)
    np.testing.assert_array_equal(decode_raw("rgb16", 32, 24, step, big, data), image)
    grey, step = padded(wide[..., :1], 2)
    expected = np.repeat(image[..., :1], 3, 2)
    np.testing.assert_array_equal(decode_raw("mono16", 32, 24, step, big, grey), expected)


@pytest.mark.parametrize(
    ("encoding", "pattern"),
    [
        ("bayer_rggb8", "RGGB"),
        ("bayer_bggr8", "BGGR"),
        ("bayer_gbrg8", "GBRG"),
        ("bayer_grbg8", "GRBG"),
    ],
)
def test_bayer_patterns(encoding: str, pattern: str) -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:] = (200, 120, 40)  # flat, so every pattern gives it back exactly
    mosaic = np.zeros((24, 32), np.uint8)
    for index, colour in enumerate(pattern):
        rows, cols = divmod(index, 2)
        mosaic[rows::2, cols::2] = image[rows::2, cols::2, "RGB".index(colour)]
    data, step = padded(mosaic, 4)
    np.testing.assert_array_equal(decode_raw(encoding, 32, 24, step, False, data), image)


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422_yuy2", 0), ("uyvy", 1)])
def test_packed_yuv(encoding: str, luma: int) -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:] = (200, 120, 40)
    y, u, v = cv2.cvtColor(image[:1, :1], cv2.COLOR_RGB2YUV)[0, 0].astype(float)
    y = 16 + y * 219 / 255  # video range
    u, v = (128 + (value - 128) * 224 / 255 for value in (u * 1.0, v * 1.0))
    packed = np.zeros((24, 32, 2), np.uint8)
    packed[..., luma] = round(y)
    packed[:, 0::2, 1 - luma] = round(u)
    packed[:, 1::2, 1 - luma] = round(v)
    data, step = padded(packed, 8)
    decoded = decode_raw(encoding, 32, 24, step, False, data).astype(int)
    assert decoded[..., 0].min() > decoded[..., 1].max() > decoded[..., 2].max(), "red, green, blue"
    np.testing.assert_allclose(decoded[0, 0], (200, 120, 40), atol=25)


def test_planar_yuv_has_the_right_shape() -> None:
    data = np.full(32 * 36, 128, np.uint8)
    image = decode_raw("nv12", 32, 24, 32, False, data)
    assert image.shape == (24, 32, 3)
    assert np.ptp(image) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("32FC1", 4, 4, 16), "depth or generic data"),
        (("magic", 4, 4, 16), "'magic' is not supported"),
        (("rgb8", 0, 4, 12), "0 x 4 is empty"),
        (("rgb8", 4, 4, 11), "a row of 4 pixels in rgb8 has 12"),
        (("rgb8", 4, 4, 13), "holds 48 bytes, but rgb8 at step 13 needs 51"),
    ],
)
def test_what_is_refused(arguments: tuple[str, int, int, int], text: str) -> None:
    with pytest.raises(ImageError, match=text):
        decode_raw(*arguments, False, np.zeros(48, np.uint8))


def test_step_zero_means_no_padding() -> None:
    image = smooth()
    np.testing.assert_array_equal(decode_raw("rgb8", 32, 24, 0, False, image.reshape(-1)), image)


@pytest.mark.parametrize(
    "distortion",
    [
        Distortion("plumb_bob", (-0.3, 0.1, 0.001, -0.001, 0.0)),
        Distortion("rational_polynomial", (0.1, 0.05, 0.0, 0.0, 0.01, 0.2, 0.0, 0.0)),
        Distortion("equidistant", (0.05, 0.01, 0.0, 0.0)),
    ],
)
def test_rectified_points_are_those_of_a_pinhole(distortion: Distortion) -> None:
    """A bright dot where the lens shows a 3D point moves to where a pinhole shows it."""
    camera = Camera(K, 320, 240)
    rectifier = Rectifier(camera, distortion)
    point = np.array([[0.3, -0.22, 1.0]])
    ideal = camera.project(point)[0]
    D = np.array(distortion.coefficients)
    zero = np.zeros(3)
    if distortion.model == "equidistant":
        seen = cv2.fisheye.projectPoints(point[:, None], zero, zero, K, D)[0].reshape(2)
    else:
        seen = cv2.projectPoints(point, zero, zero, K, D)[0].reshape(2)
    assert np.linalg.norm(seen - ideal) > 1.0, "the test would show nothing otherwise"
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(image, tuple(round(float(v)) for v in seen), 4, (255, 255, 255), -1)
    out = rectifier.image(image)[..., 0].astype(float)
    y, x = np.mgrid[0:240, 0:320]
    found = np.array([(out * x).sum(), (out * y).sum()]) / out.sum()
    np.testing.assert_allclose(found, ideal, atol=0.8)
    box = rectifier.box((seen[0] - 4, seen[1] - 4, seen[0] + 4, seen[1] + 4))
    assert box[0] < ideal[0] < box[2]
    assert box[1] < ideal[1] < box[3]


def test_bad_boxes_stay_bad() -> None:
    rectifier = Rectifier(Camera(K, 320, 240), Distortion("plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0)))
    for box in ((5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 5.0, 9.0)):
        assert rectifier.box(box) == box
    assert np.isnan(rectifier.box((float("nan"), 1.0, 2.0, 3.0))[0])


def test_odd_distortion_is_refused() -> None:
    with pytest.raises(NemoError, match="equidistant has 4"):
        Distortion("equidistant", (0.1,))
