# SPDX-License-Identifier: Apache-2.0
"""Annotated frames as a film: .mp4 or .avi through OpenCV, .gif or .webp through Pillow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from nemo_model.errors import NemoError

Image = NDArray[np.uint8]

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
ANIMATIONS = (".gif", ".webp")
ANIMATION_WIDTH = 640
"""Animated pictures are made this wide at most: they grow quickly."""
RATE_FRAMES = 15
"""So many frames are held back to settle the rate."""


class Movie:
    """Frames (H, W, 3) uint8 RGB, all of one size, to a file. Use as a context manager."""

    def __init__(self, path: Path, rate_hz: float = 0.0) -> None:
        """rate_hz 0: by the stamps. Raises NemoError for a suffix that is not known."""
        if path.suffix.lower() not in (*CODECS, *ANIMATIONS):
            known = ", ".join([*CODECS, *ANIMATIONS])
            raise NemoError(f"{path}: unknown kind of film {path.suffix!r}, use one of {known}")
        self.path, self.rate_hz = path, rate_hz
        self._size: tuple[int, int] | None = None
        self._video: cv2.VideoWriter | None = None
        self._pictures: list[Pillow.Image] = []
        self._held: list[tuple[Image, int]] = []  # until the rate is known

    def add(self, image: Image, stamp_ns: int) -> None:
        """Add a frame; one of another size than the first is scaled to it."""
        if self.rate_hz > 0:
            self._write(image)
            return
        self._held.append((image, stamp_ns))
        if len(self._held) == RATE_FRAMES:
            self._release()

    def _release(self) -> None:
        """Settle the rate by the stamps of the frames that were held back, and write them."""
        steps = np.diff([stamp for _, stamp in self._held])
        step = float(np.median(steps)) * 1e-9 if steps.size else 0.1
        self.rate_hz = float(np.clip(1.0 / step if step > 0 else 10.0, 1.0, 60.0))
        for image, _ in self._held:
            self._write(image)
        self._held.clear()

    def _write(self, image: Image) -> None:
        if self.path.suffix.lower() in ANIMATIONS:
            self._pictures.append(self._picture(image))
            return
        height, width = image.shape[:2]
        if self._video is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._size = (width, height)
            codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
            self._video = cv2.VideoWriter(str(self.path), codec, self.rate_hz, self._size)
            if not self._video.isOpened():
                raise NemoError(f"{self.path}: this OpenCV cannot write it; try .gif or .avi")
        assert self._size is not None
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self._video.write(bgr if (width, height) == self._size else cv2.resize(bgr, self._size))

    def _picture(self, image: Image) -> Pillow.Image:
        height, width = image.shape[:2]
        if self._size is None:
            factor = min(1.0, ANIMATION_WIDTH / width)
            self._size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        picture = Pillow.fromarray(small)
        if self.path.suffix.lower() == ".gif":
            return picture.quantize(128, method=Pillow.Quantize.FASTOCTREE)
        return picture

    def close(self) -> None:
        """Finish the file. Without a frame there is none."""
        if self._held:
            self._release()
        if self._video is not None:
            self._video.release()
        if self._pictures:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._pictures[0].save(
                self.path,
                save_all=True,
                append_images=self._pictures[1:],
                duration=round(1000 / self.rate_hz),
                loop=0,
                quality=80,
            )

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
