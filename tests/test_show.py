# SPDX-License-Identifier: Apache-2.0
"""`nemo show`: what a tiny model finds on pictures of its cuboid, on sheets and one page."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from nemo_model import cli
from nemo_model.camera import Camera
from nemo_model.datasets.common import DatasetError
from nemo_model.errors import NemoError
from nemo_model.gallery import (
    COLUMNS,
    HEIGHT,
    ROWS,
    TEXT,
    WIDTH,
    assumed_K,
    contact_sheets,
    read_list,
)
from nemo_model.pose import rotation_from_angles, transform

SIZE = (320, 240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two photos of its object from azimuth 40 and 220 degrees, and their boxes."""
    folder = tmp_path_factory.mktemp("show")
    tiny.write(folder / "model")
    (folder / "photos").mkdir()
    camera = Camera(assumed_K(*SIZE, 50.0), *SIZE)
    lines = ["file,category,x1,y1,x2,y2"]
    for azimuth in (40, 220):
        R = rotation_from_angles(np.radians(azimuth), np.radians(12.0), 0.0)
        image, box = tiny.photo(camera, transform(R, np.array([0.0, 0.0, 9.0])))
        cv2.imwrite(str(folder / "photos" / f"{azimuth}.png"), image[..., ::-1])
        lines.append(f"{azimuth}.png,car," + ",".join(f"{v:.1f}" for v in box))
    lines += ["40.png,chair,1,1,50,50", "40.png,,5000,5000,5100,5100"]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def show(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        point = EntryPoint("show", "nemo_model.commands.show", cli.GROUP)
        patch.setattr(cli, "entry_points", lambda group: [point])
        return cli.main(["show", *arguments])


def test_poses_are_drawn_and_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(folder / "model"), "--photos", str(folder / "photos"), "--out"]
    assert show(*words, str(tmp_path), "--boxes", str(folder / "boxes.csv")) == 0
    said = capsys.readouterr().out
    assert "left out: 1 of category chair" in said
    assert "3 objects, 1 without an estimate" in said
    text = (tmp_path / "index.html").read_text()
    for azimuth in (40, 220):
        near = (f"azimuth {azimuth + off}, elevation" for off in range(-3, 4))
        assert any(words in text for words in near)
    assert "no estimate: box" in text
    assert "50 degrees" in text
    assert str(folder) not in text
    sheet = cv2.imread(str(tmp_path / "sheet_0.png"))
    assert sheet.shape == (HEIGHT + TEXT, COLUMNS * WIDTH, 3)
    plain = cv2.resize(cv2.imread(str(folder / "photos" / "40.png")), (WIDTH, HEIGHT))
    assert np.abs(sheet[:HEIGHT, :WIDTH].astype(int) - plain).mean() > 5.0  # something is drawn


def test_without_boxes_a_photo_is_one_object(folder: Path, tmp_path: Path) -> None:
    words = ["--model", str(folder / "model"), "--photos", str(folder / "photos")]
    assert show(*words, "--out", str(tmp_path), "--limit", "1") == 0
    text = (tmp_path / "index.html").read_text()
    assert "40.png" not in text
    assert "220.png (whole photo)" in text


def test_wrong_input_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(folder / "model"), "--photos", str(folder / "photos"),
             "--out", str(tmp_path)]  # fmt: skip
    for more, said in (
        (("--view", "200"), "--view 200"),
        (("--category", "chair"), "--category chair"),
        (("--limit", "0"), "--limit 0"),
    ):
        assert show(*words, *more) == 2
        assert said in capsys.readouterr().err
    path = tmp_path / "boxes.csv"
    path.write_text("file,category\na.png,car\n")
    with pytest.raises(DatasetError, match="no column x1, x2, y1, y2"):
        read_list(path, tmp_path)
    path.write_text("file,category,x1,y1,x2,y2\na.png,car,1,2,3,\n")
    with pytest.raises(DatasetError, match=r"boxes.csv:2: box"):
        read_list(path, tmp_path)
    with pytest.raises(NemoError, match="--view"):
        assumed_K(10, 10, 0.0)


def test_many_cells_make_several_sheets() -> None:
    cells = [np.full((30, 20, 3), k, np.uint8) for k in range(ROWS * COLUMNS + 1)]
    first, second = contact_sheets(cells)
    assert first.shape == (30 * ROWS, 20 * COLUMNS, 3)
    assert second.shape == (30, 20 * COLUMNS, 3)
    assert second[0, 0, 0] == ROWS * COLUMNS
    assert second[0, -1, 0] == 255
