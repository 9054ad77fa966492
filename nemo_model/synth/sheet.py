# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: each model of a category once, from ahead and aside, with its axes drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model import pose
from nemo_model.synth.catalogue import Entry
from nemo_model.synth.draw import draw
from nemo_model.synth.light import Lights
from nemo_model.synth.model import Model

Image = npt.NDArray[np.uint8]

CELL, TEXT, COLUMNS = 176, 26, 8
DISTANCE = 3.0
AZIMUTH, ELEVATION = np.radians(35.0), np.radians(20.0)
ARROWS = (
    ((0.6, 0.0, 0.0), (200, 60, 60)),
    ((0.0, -0.75, 0.0), (30, 150, 30)),
    ((0.0, 0.0, 0.6), (60, 60, 220)),
)
"""Ends and colours: x red, the front (-y) green, z blue."""


def plain_lights() -> Lights:
    """Even light from the left and ahead."""
    sun = np.array([0.5, -0.6, 0.8])
    grey = np.linspace(1.0, 0.2, 32)[:, None, None] * np.ones((32, 64, 3))
    return Lights(
        sun / np.linalg.norm(sun), np.array([0.8, 0.78, 0.7]), np.array([0.5, 0.52, 0.58]),
        np.array([0.25, 0.23, 0.2]), grey,
    )  # fmt: skip


def cell(model: Model, entry: Entry) -> Image:
    """One model with its name, family and size."""
    focal, middle = 0.92 * CELL * DISTANCE, (CELL - 1) / 2.0
    K = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    R = pose.rotation_from_angles(AZIMUTH, ELEVATION, 0.0)
    T = pose.transform(R, np.array([0.0, 0.0, DISTANCE]))
    paper = np.full((CELL, CELL, 3), 235, np.uint8)
    image = draw(model, T, K, paper, plain_lights(), 0.6).image
    middle_uv = (int(middle), int(middle))
    for end, colour in ARROWS:
        at = K @ (R @ np.array(end) + T[:3, 3])
        tip = (int(at[0] / at[2]), int(at[1] / at[2]))
        cv2.arrowedLine(image, middle_uv, tip, colour, 1, cv2.LINE_AA, tipLength=0.1)
    size = model.extent * entry.diagonal_m
    note = np.full((TEXT, CELL, 3), 255, np.uint8)
    lines = (f"{entry.name[:20]} / {entry.family[:16]}",
             "x".join(f"{v:.2f}" for v in size) + f" m  sym {entry.symmetry}")  # fmt: skip
    for k, line in enumerate(lines):
        cv2.putText(note, line, (2, 10 + 12 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1,
                    cv2.LINE_AA)  # fmt: skip
    return np.concatenate([image, note])


def sheet(cells: Sequence[Image], columns: int = COLUMNS) -> Image:
    """Cells of one size side by side."""
    columns = min(columns, len(cells))
    filled = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    rows = [np.concatenate(filled[k : k + columns], axis=1) for k in range(0, len(filled), columns)]
    return np.concatenate(rows)
