# SPDX-License-Identifier: Apache-2.0
"""benchmarks/stuck_units.py: counts what it is to count, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from loading import load_benchmark

from nemo_model.training.backbone import Backbone


@pytest.fixture
def stuck_units(repository: Path) -> ModuleType:
    return load_benchmark(repository, "stuck_units")


def pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (90, 120, 3), dtype=np.uint8))
    return folder


def test_it_counts_channels_that_are_0_or_6_for_every_picture(
    stuck_units: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    backbone = Backbone()
    block = backbone.trunk.blocks[12]  # 6 x 192 channels, expanded and by depth
    with torch.no_grad():
        block.depthwise.conv.weight.zero_()
        block.depthwise.conv.bias[:100] = -1.0
        block.depthwise.conv.bias[100:300] = 7.0
        block.depthwise.conv.bias[300:] = 3.0
    monkeypatch.setattr(stuck_units, "_backbone", lambda name: (backbone, (96, 64)))
    images = stuck_units._pictures(pictures(tmp_path), 64, 0)
    sized = [cv2.resize(image, (96, 64), interpolation=cv2.INTER_AREA) for image in images]
    low, high = stuck_units._extremes(backbone, torch.from_numpy(np.stack(sized)))[32]
    by_depth = slice(672 + 1152, 672 + 2 * 1152)  # after block 11's, and this one's expanded ones
    assert int((high[by_depth] <= 0).sum()) == 100
    assert int((low[by_depth] >= 6).sum()) == 200
    rows = stuck_units._rows("mine", images)
    assert [row[1] for row in rows] == [f"stride {stride}" for stride in (2, 4, 8, 16, 32)]
    assert rows[4][2] == str(672 + 4 * 2 * 1152)  # blocks 11 to 15, but for block 11's expansion
    zero, six = (high <= 0).float().mean(), (low >= 6).float().mean()
    assert rows[4][3:] == (f"{100 * zero:.1f}", f"{100 * six:.1f}")


def test_a_shipped_model_is_told_of(
    stuck_units: ModuleType, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--models", str(repository / "models" / "car"), "--images", str(pictures(tmp_path))]
    assert stuck_units.main(words) == 0
    assert capsys.readouterr().out.count("models/car") == 5


@pytest.mark.parametrize("words", [["--models", "nothing"], ["--models", "models/car"]])
def test_what_is_missing_is_named(
    stuck_units: ModuleType, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path) if words[-1] == "nothing" else tmp_path
    assert stuck_units.main([*words, "--images", str(folder)]) == 2
    assert "stuck_units: error: " in capsys.readouterr().err
