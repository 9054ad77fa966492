# SPDX-License-Identifier: Apache-2.0
"""Photos with the poses found in them: cells of one size, contact sheets, one web page."""

from __future__ import annotations

import csv
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.datasets.common import DatasetError
from nemo_model.errors import NemoError
from nemo_model.estimate import Estimate
from nemo_model.overlay import draw_estimate
from nemo_model.page import jpeg, page

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

WIDTH, HEIGHT, TEXT = 360, 270, 40
"""Of a cell's picture and of the strip below it, pixels."""
COLUMNS, ROWS = 4, 4
LONGEST = 1280
"""A larger photo is shrunk to this longer side before it is drawn on."""
COLUMNS_OF_LIST = ("file", "category", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Wanted:
    """One object to be shown; box (4,) in pixels, None: the whole photo; category "": any."""

    path: Path
    category: str = ""
    box: Array | None = None


@dataclass(frozen=True)
class Shown:
    """One object with what was found, or why nothing was.

    probabilities: of the categories, where the category was searched for.
    """

    wanted: Wanted
    image: Image
    estimate: Estimate | None = None
    failure: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)

    @property
    def caption(self) -> tuple[str, str]:
        """Two lines: what was found, and of which file."""
        told = "" if self.wanted.box is not None else " (whole photo)"
        name = f"{self.wanted.path.name}{told}"
        if self.estimate is None:
            return f"no estimate: {self.failure}", name
        x, y, z = -self.estimate.rotation.T @ self.estimate.T_cam_obj[:3, 3]  # the camera
        azimuth = math.degrees(math.atan2(x, -y))
        elevation = math.degrees(math.atan2(z, math.hypot(x, y)))
        likely = self.probabilities.get(self.estimate.category)
        category = self.estimate.category + ("" if likely is None else f" (P {likely:.2f})")
        return (
            f"{category}, score {self.estimate.score:.2f}, azimuth {azimuth % 360:.0f}, "
            f"elevation {elevation:.0f}"
        ), name


def read_list(path: Path, photos: Path) -> list[Wanted]:
    """The objects of a CSV file with the columns file, category, x1, y1, x2, y2 (pixels).

    A category may be empty; so may a box.

    Raises:
        DatasetError: naming the file, line and field that is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS_OF_LIST) - set(reader.fieldnames or ())
            if missing:
                raise DatasetError(f"{path}: has no column {', '.join(sorted(missing))}")
            return [_wanted(row, photos, f"{path}:{reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error


def _wanted(row: dict[str, str], photos: Path, where: str) -> Wanted:
    values = [row[name] or "" for name in COLUMNS_OF_LIST[2:]]
    box = None
    if any(values):
        try:
            box = np.array([float(value) for value in values])
        except ValueError as error:
            raise DatasetError(f"{where}: box {values} is not four numbers") from error
    if not row["file"]:
        raise DatasetError(f"{where}: file is empty")
    return Wanted(photos / row["file"], row["category"] or "", box)


def assumed_K(width: int, height: int, view_deg: float) -> Array:
    """K (3, 3) of a camera whose picture's longer side spans an angle.

    Raises NemoError for an angle that is none of a pinhole camera.
    """
    if not 1.0 <= view_deg <= 150.0:
        raise NemoError(f"--view {view_deg}: must be 1 to 150 degrees")
    focal = max(width, height) / 2 / math.tan(math.radians(view_deg) / 2)
    return np.array(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=np.float64
    )


def drawn(shown: Shown) -> Image:
    """The photo with the box, the cells and the cuboid of the pose."""
    image = shown.image if shown.estimate is None else draw_estimate(shown.image, shown.estimate)
    canvas = image.copy()
    if shown.wanted.box is not None:
        corners = [round(float(v)) for v in np.clip(shown.wanted.box, -1e4, 1e4)]
        cv2.rectangle(canvas, corners[:2], corners[2:], (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def cell(shown: Shown) -> Image:
    """The drawn photo (HEIGHT + TEXT, WIDTH, 3) with its caption."""
    picture = drawn(shown)
    rows, cols = picture.shape[:2]
    scale = min(WIDTH / cols, HEIGHT / rows)
    size = (max(round(cols * scale), 1), max(round(rows * scale), 1))
    canvas = np.full((HEIGHT + TEXT, WIDTH, 3), 255, np.uint8)
    x, y = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA
    )
    for k, line in enumerate(shown.caption):
        ink = (30, 30, 30) if k == 0 else (110, 110, 110)
        cv2.putText(canvas, line[:58], (4, HEIGHT + 15 + 17 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.38,
                    ink, 1, cv2.LINE_AA)  # fmt: skip
    return canvas


def contact_sheets(cells: Sequence[Image]) -> list[Image]:
    """Cells as pages of ROWS x COLUMNS; the last one as high as it needs to be."""
    pages = []
    for start in range(0, len(cells), ROWS * COLUMNS):
        part = list(cells[start : start + ROWS * COLUMNS])
        part += [np.full_like(part[0], 255)] * (-len(part) % COLUMNS)
        rows = [np.concatenate(part[k : k + COLUMNS], axis=1) for k in range(0, len(part), COLUMNS)]
        pages.append(np.concatenate(rows))
    return pages


def webpage(title: str, told: Sequence[str], shown: Sequence[Shown]) -> str:
    """One page with every photo, best scores first."""

    def score(each: Shown) -> float:
        return -1.0 if each.estimate is None else each.estimate.score

    figures = "".join(
        f'<figure><img alt="{html.escape(each.wanted.path.name)}" '
        f'src="{jpeg(drawn(each), 640)}"><figcaption>'
        f"{'<br>'.join(map(html.escape, each.caption))}</figcaption></figure>"
        for each in sorted(shown, key=score, reverse=True)
    )
    text = "".join(f"<p>{html.escape(line)}</p>" for line in told)
    return page(title, f'<section>{text}</section><section class="frames">{figures}</section>')
