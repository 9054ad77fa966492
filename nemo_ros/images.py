# SPDX-License-Identifier: Apache-2.0
"""Pixels in every common encoding to RGB, honouring row step and byte order.

rosbags-image and cv_bridge ignore the step in parts; a padded row then gives a sheared image
without an error. Plain values in, numpy out: no message fields here.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

from nemo_model.errors import NemoError

Image = NDArray[np.uint8]

# encoding -> (bits, channels, OpenCV conversion to RGB or None when it is RGB already)
_ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (8, 3, None),
    "bgr8": (8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (8, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (16, 3, None),
    "bgr16": (16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": (16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": (16, 4, cv2.COLOR_BGRA2RGB),
    "mono16": (16, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (8, 1, cv2.COLOR_GRAY2RGB),
    "8UC3": (8, 3, cv2.COLOR_BGR2RGB),
    "8UC4": (8, 4, cv2.COLOR_BGRA2RGB),
    # OpenCV names the pattern by its second row, ROS by its first
    "bayer_rggb8": (8, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (8, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (8, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (8, 1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": (16, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": (16, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": (16, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": (16, 1, cv2.COLOR_BayerGB2RGB),
    "uyvy": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (8, 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuv422_yuy2": (8, 2, cv2.COLOR_YUV2RGB_YUYV),
}
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
_GENERIC = re.compile(r"(8|16|32|64)[USF]C?\d*")


class ImageError(NemoError):
    """An image that cannot be decoded."""


def decode_raw(
    encoding: str,
    width: int,
    height: int,
    step: int,
    big_endian: bool,
    data: NDArray[np.uint8],
) -> Image:
    """Raw pixels to (height, width, 3) uint8 RGB.

    Args:
        encoding: a name of sensor_msgs/image_encodings.
        step: bytes per row, padding included; 0 means rows without padding.
        data: (N,) uint8, the message's bytes.

    Raises:
        ImageError: unknown encoding, an empty image, or fewer bytes than the size needs.
    """
    if width < 1 or height < 1:
        raise ImageError(f"image: size {width} x {height} is empty")
    if encoding in _PLANAR:
        plane = _rows(data, encoding, width, height * 3 // 2, step, 1, np.dtype(np.uint8))
        return _rgb(plane[..., 0], _PLANAR[encoding])
    if encoding not in _ENCODINGS:
        hint = " (depth or generic data, not a picture)" if _GENERIC.fullmatch(encoding) else ""
        known = ", ".join(sorted(_ENCODINGS) + sorted(_PLANAR))
        raise ImageError(f"image: encoding {encoding!r} is not supported{hint}; known: {known}")
    bits, channels, conversion = _ENCODINGS[encoding]
    dtype = np.dtype(np.uint8) if bits == 8 else np.dtype(">u2" if big_endian else "<u2")
    pixels = _rows(data, encoding, width, height, step, channels, dtype)
    if bits == 16:
        pixels = (pixels >> 8).astype(np.uint8)
    if channels == 1:
        pixels = pixels[..., 0]
    return _rgb(pixels, conversion)


def decode_compressed(data: NDArray[np.uint8]) -> Image:
    """JPEG, PNG or another file that OpenCV reads, (N,) uint8, to (H, W, 3) uint8 RGB.

    Raises:
        ImageError: when it is empty, truncated beyond repair or of an unknown kind.
    """
    if data.size == 0:
        raise ImageError("compressed image: holds no bytes")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"compressed image: cannot be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"compressed image: {data.size} bytes are no image that can be decoded")
    return _rgb(np.asarray(image, dtype=np.uint8), cv2.COLOR_BGR2RGB)


def _rows(
    data: NDArray[np.uint8],
    encoding: str,
    width: int,
    rows: int,
    step: int,
    channels: int,
    dtype: np.dtype,
) -> NDArray:
    """A view (rows, width, channels) on the bytes; the padding of a row is left out."""
    needed = width * channels * dtype.itemsize
    step = step or needed
    if step < needed:
        raise ImageError(
            f"image: step is {step} bytes, but a row of {width} pixels in {encoding} has {needed}"
        )
    total = step * (rows - 1) + needed
    if data.size < total:
        raise ImageError(
            f"image: holds {data.size} bytes, but {encoding} at step {step} needs {total}"
        )
    return np.ndarray(
        (rows, width, channels),
        dtype,
        buffer=data,
        strides=(step, channels * dtype.itemsize, dtype.itemsize),
    )


def _rgb(pixels: NDArray, conversion: int | None) -> Image:
    """Convert to RGB; always a new contiguous array (the message's memory is not ours)."""
    pixels = np.ascontiguousarray(pixels)
    if conversion is None:
        return np.array(pixels, dtype=np.uint8)
    try:
        return np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)
    except cv2.error as error:
        raise ImageError(f"image: cannot be converted to RGB ({error.err})") from error
