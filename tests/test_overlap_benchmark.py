# SPDX-License-Identifier: Apache-2.0
"""benchmarks/overlap.py: its figures by hand, and scenes of real photos."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from loading import load_benchmark

from nemo_model.datasets.pascal3d import Pascal3D


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "overlap")


def test_figures_by_hand(benchmark: ModuleType) -> None:
    errors = np.array([[2.0, 5.0], [3.0, 50.0], [40.0, 12.0], [1.0, 20.0]])
    found = benchmark._figures(errors)
    assert found["both_right"] == 0.5
    assert found["front_right"] == found["behind_right"] == 0.75
    assert found["behind_within_10"] == 0.25
    assert found["behind_median_deg"] == 16.0
    document = {
        "model": {"name": "m", "sha256": "0" * 64}, "split": "val", "scenes": 4, "seed": 0,
        "hidden_mean": 0.4,
        "alone": found, "together": found,
    }  # fmt: skip
    assert "| together | 50.0 " in benchmark.markdown(document)


def test_without_data_it_says_so(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert benchmark.main([]) == 0
    assert "nothing measured" in capsys.readouterr().out
    assert benchmark.main(["--root", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_scenes_hide_what_they_say_and_labels_turn_with_the_view(
    benchmark: ModuleType, shared_data: Path
) -> None:
    root = shared_data / "stanford_cars3d"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    photos = Pascal3D(root, "car", split="val")
    first, second = benchmark.scenes(photos, 2, 0)
    assert benchmark.HIDDEN[0] <= first.hidden <= benchmark.HIDDEN[1]
    assert first.image.shape == (benchmark.SIZE[1], benchmark.SIZE[0], 3)
    again = next(benchmark.scenes(photos, 1, 0))
    assert again.image.tobytes() == first.image.tobytes() != second.image.tobytes()
    left, right = (benchmark.turned(photos, 3, degrees) for degrees in (-10.0, 10.0))
    assert left.box[[0, 2]].mean() < benchmark.K[0, 2] < right.box[[0, 2]].mean()
    turn = right.R @ left.R.T  # about the camera's vertical axis, by 20 degrees
    np.testing.assert_allclose(turn[1], [0.0, 1.0, 0.0], atol=1e-9)
    assert np.degrees(np.arcsin(turn[0, 2])) == pytest.approx(20.0)
