# SPDX-License-Identifier: Apache-2.0
"""A training set for seconds: pictures of tiny.py's coloured cuboid in the PASCAL3D+ layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tiny
from pascal3d_files import texture, thing, viewpoint, write_object, write_set

from nemo_model.camera import Camera
from nemo_model.mesh import Mesh
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.training.config import AugmentConfig, TrainConfig

SIZE = (160, 120)  # width, height of a photo
FOCAL, DISTANCE = 300.0, 2.4  # pixels, object units

PLAIN = AugmentConfig(
    flip=0, fill=(0.86, 0.86), box_jitter=0, rough_box=0, roll_deg=0, cut=0, photo_padding=0,
    occluded=0, neighbour=0, visible_box=0, shrink=0, blur=0, noise=0, jpeg=0, colour=0,
)  # fmt: skip
"""No augmentation: the crop is the photo's."""
PAPER: dict[str, Any] = {"context": 0, "silhouettes": False}
"""Settings of the paper's method: no viewpoint prior, the whole mesh counts as the object."""


def config(**changes: Any) -> TrainConfig:
    """A run that takes a second: 64 x 64 crops, 8 x 8 cells, four steps of two samples."""
    fields: dict[str, Any] = {
        "split": "train", "width": 64, "height": 64, "features": 16, "vertices": 150,
        "context": 24, "prototypes": 4, "picks": 32, "clutter_cells": 8, "batch": 2, "steps": 4,
        "warmup": 2,
    }  # fmt: skip
    return TrainConfig(**(fields | changes))


def write(root: Path, count: int = 8, subtypes: int = 1, category: str = "car") -> Path:
    """Write the set, its CAD models and, in root/photos, three background photos.

    Of another category than "car" the pictures are negatives.

    Photo k is annotated with CAD model 1 + k % subtypes; the second and further ones are lower.
    """
    names = [f"{k:03d}" for k in range(count)]
    for k, name in enumerate(names):
        azimuth, elevation, theta = 360.0 * k / count + 7.0, 3.0 + 4 * (k % 5), 2.0 * (k % 3) - 2.0
        px, py = 78.0 + k % 4, 61.0 - k % 3
        K = np.array([[FOCAL, 0, px], [0, FOCAL, py], [0, 0, 1]])
        R = rotation_from_angles(*map(math.radians, (azimuth, elevation, theta)))
        T = transform(R, np.array([0, 0, tiny.METRES_PER_UNIT * DISTANCE]))
        image, box = tiny.photo(Camera(K, *SIZE), T, seed=k)
        view = viewpoint(
            azimuth=azimuth, elevation=elevation, theta=theta, distance=DISTANCE,
            px=px + 1, py=py + 1, viewport=FOCAL,
        )  # fmt: skip
        entry = thing(
            category, view=view, bbox=[float(v) for v in box + 1], cad_index=1 + k % subtypes
        )
        image = image if category == "car" else 255 - image
        write_object(
            root, name, [entry], category=category, suffix=".png", image=image[..., ::-1],
            imgsize=[*SIZE, 3],
        )  # fmt: skip
    write_set(root, "train", names, category=category)
    for k in range(subtypes):
        _write_off(root / "CAD" / category / f"{k + 1:02d}.off", 1.0 - 0.15 * k)
    photos = root / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for k in range(3):
        cv2.imwrite(str(photos / f"{k}.png"), texture(np.random.default_rng(k), (200, 150)))
    return root


def _write_off(path: Path, height: float) -> None:
    mesh = tiny.mesh(200)
    mesh = Mesh(mesh.vertices * [1.0, 1.0, height], mesh.faces)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.faces)} 0"]
    lines += [" ".join(f"{v:.6f}" for v in vertex) for vertex in mesh.vertices]
    lines += ["3 " + " ".join(map(str, face)) for face in mesh.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")
