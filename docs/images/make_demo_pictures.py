#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the docs from the films of `make demo`: demo.webp (animated), demo.jpg (a strip).

make demo && .venv/bin/python docs/images/make_demo_pictures.py
.venv/bin/python docs/images/make_demo_pictures.py --name household --film \\
    build/demo/household/demo.mp4 --strip-only
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Image = NDArray[np.uint8]

HERE = Path(__file__).resolve().parent
LIMIT_BYTES = 2_000_000
QUALITIES = (60, 50, 40, 30, 20)
STRIP = (0.06, 0.24, 0.36, 0.52, 0.69, 0.78)
"""Where in the film the strip's pictures are taken, as shares of its length."""


def read(film: Path) -> list[Image]:
    """All frames (H, W, 3) RGB of a film. Raises SystemExit when there are none."""
    video = cv2.VideoCapture(str(film))
    frames: list[Image] = []
    while True:
        found, frame = video.read()
        if not found:
            break
        frames.append(np.asarray(frame[:, :, ::-1], dtype=np.uint8))
    if not frames:
        sys.exit(f"{film}: cannot be read; run `make demo` first")
    return frames


def shrink(image: Image, width: int) -> Image:
    """The image at this width."""
    height = round(image.shape[0] * width / image.shape[1])
    if width >= image.shape[1]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def write_animation(frames: list[Image], path: Path, width: int, step: int, rate: float) -> int:
    """Write the best animated WebP below the limit; return its quality."""
    pictures = [Pillow.fromarray(shrink(frame, width)) for frame in frames[::step]]
    for quality in QUALITIES:
        pictures[0].save(
            path, save_all=True, append_images=pictures[1:], duration=round(1000 * step / rate),
            loop=0, quality=quality, method=4,
        )  # fmt: skip
        if path.stat().st_size <= LIMIT_BYTES:
            return quality
    sys.exit(f"{path}: over {LIMIT_BYTES} bytes at every quality; raise --step or lower --width")


def write_strip(frames: list[Image], path: Path, width: int, columns: int = 3) -> None:
    """Write pictures from along the film, in rows."""
    chosen = [shrink(frames[int(share * len(frames))], width) for share in STRIP]
    rows = [np.hstack(chosen[k : k + columns]) for k in range(0, len(chosen), columns)]
    Pillow.fromarray(np.vstack(rows)).save(path, quality=85, optimize=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    film = HERE.parent.parent / "build" / "demo" / "car" / "demo.mp4"
    parser.add_argument("--film", type=Path, default=film)
    parser.add_argument("--name", default="demo", help="of the files")
    parser.add_argument("--strip-only", action="store_true", help="no animation")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--step", type=int, default=2, help="take every n-th frame")
    parser.add_argument("--rate", type=float, default=10.0, help="of the film, frames per second")
    args = parser.parse_args()
    frames = read(args.film)
    written = [HERE / f"{args.name}.jpg"]
    write_strip(frames, written[0], 480)
    if not args.strip_only:
        written.append(HERE / f"{args.name}.webp")
        quality = write_animation(frames, written[1], args.width, args.step, args.rate)
        print(f"animation: quality {quality}")
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
