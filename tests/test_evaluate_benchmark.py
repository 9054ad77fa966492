# SPDX-License-Identifier: Apache-2.0
"""benchmarks/accuracy.py end to end, on a handful of photos."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from loading import load_benchmark


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "accuracy")


def test_without_data_it_says_so(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([]) == 0
    assert "--root" in capsys.readouterr().out


def test_whole_table_on_a_few_photos(
    benchmark: ModuleType, repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    model = repository / "models" / "car"
    needed = [model / "card.json", shared_data / "stanford_cars3d", shared_data / "backgrounds",
              shared_data / "kitti_cars"]  # fmt: skip
    for path in needed:
        if not path.exists():
            pytest.skip(f"no {path}")
    words = ["--root", shared_data / "stanford_cars3d", "--occluders", shared_data / "backgrounds",
             "--kitti", shared_data / "kitti_cars", "--model", model, "--limit", 5,
             "--occluded", tmp_path / "occluded", "--out", tmp_path]  # fmt: skip
    assert benchmark.main([str(word) for word in words]) == 0
    document = json.loads((tmp_path / "accuracy.json").read_text())
    for protocol in ("robot", "paper"):
        levels = document["photos"][protocol]
        assert [row["objects"] for row in levels.values()] == [5] * 4
        assert levels["L0"]["acc_pi_6"] >= 0.8
        assert document["kitti"][protocol]["objects"] == 39
    text = (tmp_path / "accuracy.md").read_text()
    first = levels["L0"]
    cell = f"{100 * first['acc_pi_6']:.1f} / {100 * first['acc_pi_18']:.1f}"
    assert f"| paper    | {cell}" in text
    assert str(shared_data) not in json.dumps(document)
