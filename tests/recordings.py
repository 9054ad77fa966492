# SPDX-License-Identifier: Apache-2.0
"""Small recordings in files for tests: noise images, a box that moves, its ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from tracking_doubles import CAMERA, FakeEstimator, pose_at

from nemo_model.boxes import Box

COUNT = 12


def box_at(index: int) -> Box:
    return (200.0 + 3 * index, 120.0, 320.0 + 3 * index, 200.0)


def write_files(folder: Path, count: int = COUNT, suffix: str = ".png") -> dict[str, Path]:
    """Images, camera_info.json, boxes.csv and truth.csv; returns their paths by name."""
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for index in range(count):
        coarse = rng.integers(0, 255, (12, 20, 3)).astype(np.uint8)
        image = cv2.resize(coarse, (CAMERA.width, CAMERA.height))
        cv2.imwrite(str(images / f"{index:06d}{suffix}"), image)
    camera = folder / "camera_info.json"
    values = {
        "width": CAMERA.width,
        "height": CAMERA.height,
        "K": CAMERA.K.ravel().tolist(),
        "rate_hz": 10.0,
        "frame_id": "camera_optical",
    }
    camera.write_text(json.dumps(values))
    boxes = folder / "boxes.csv"
    rows = [",".join(map(str, (i, *box_at(i)))) for i in range(count)]
    boxes.write_text("frame,x1,y1,x2,y2\n" + "\n".join(rows) + "\n")
    truth = folder / "truth.csv"
    lines = ["frame,id,x,y,z,azimuth,elevation,theta,size_x,size_y,size_z"]
    for i in range(count):
        x, y, z = pose_at(CAMERA.K, box_at(i))[:3, 3]
        lines.append(f"{i},a,{x},{y},{z},0,0,0,1.8,4.5,1.5")
    truth.write_text("\n".join(lines) + "\n")
    return {"images": images, "camera": camera, "boxes": boxes, "truth": truth}


def arguments(files: dict[str, Path], out: Path, *more: str) -> list[str]:
    """Of `nemo bag-from-frames`."""
    return [
        *("--images", str(files["images"]), "--camera-info", str(files["camera"])),
        *("--boxes", str(files["boxes"]), "--out", str(out), *more),
    ]


class ImageEstimator(FakeEstimator):
    """A double whose energy and score depend on the pixels in the box, as a real one's do.

    Cold, the pose is `pose_at` turned about the vertical axis by a share of the pixels' mean.
    """

    class extractor:
        provider = "none"

    class bundle:
        digest = "0" * 64

        class card:
            name = "double"

    def solve(self, seen, *, prior=None, trust_box=True):
        x1, y1, x2, y2 = (round(v) for v in seen.box)
        part = seen.image[max(y1, 0) : y2, max(x1, 0) : x2]
        mean = float(part.mean()) / 255 if part.size else 0.0
        self.answer = lambda mode, number: (10.0 + mean, 0.2 + 0.6 * mean)
        made = super().solve(seen, prior=prior, trust_box=trust_box)
        if prior is None:
            angle = 0.3 * mean
            turn = np.array(
                [
                    [np.cos(angle), -np.sin(angle), 0.0],
                    [np.sin(angle), np.cos(angle), 0.0],
                    [0.0, 0.0, 1.0],
                ]
            )
            made.T_cam_obj[:3, :3] = made.T_cam_obj[:3, :3] @ turn
        return made
