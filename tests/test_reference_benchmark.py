# SPDX-License-Identifier: Apache-2.0
"""benchmarks/reference.py: its table by hand, and one photo end to end."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from loading import load_benchmark


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "reference")


def result(error: float, energy: float, ms: float) -> dict[str, float]:
    return {"error_deg": error, "energy": energy, "cpu_ms": ms}


def test_rows_are_paired_by_photo(benchmark: ModuleType) -> None:
    numba = [result(4.0, 100.0, 5.0), result(8.0, 50.0, 4.0), result(40.0, 20.0, 6.0)]
    torch = [result(3.0, 99.0, 500.0), result(8.4, 52.0, 800.0), result(50.0, 20.1, 1200.0)]
    images = [
        {"level": 3, "solvers": {"numba": a, "torch": b}} for a, b in zip(numba, torch, strict=True)
    ]
    ours, theirs = benchmark.all_rows(images, ["numba", "torch"])
    assert ours["median_time_ratio"] == 1.0
    assert ours["numba_energy_at_least"] == 1.0
    assert theirs["median_time_ratio"] == 200.0  # of 100, 200, 200
    assert theirs["median_cpu_ms"] == 800.0
    assert theirs["numba_energy_at_least"] == pytest.approx(2 / 3)  # 20 is within 1 % of 20.1
    assert theirs["numba_acc_pi_18"] == pytest.approx(2 / 3)
    assert theirs["numba_median_error_deg"] == 8.0
    assert theirs["acc_pi_6"] == pytest.approx(2 / 3)
    assert (theirs["level"], theirs["photos"], theirs["median_error_deg"]) == ("L3", 3, 8.4)
    alone = benchmark.rows([{"level": 0, "solvers": {"torch": torch[0]}}], ["torch"], "L0")
    assert "median_time_ratio" not in alone[0]


def test_a_solver_that_saw_few_photos_is_paired_on_these(benchmark: ModuleType) -> None:
    images = [
        {"level": level, "solvers": {"numba": result(level + 1.0, 10.0, 2.0)}} for level in (0, 1)
    ]
    images[1]["solvers"]["pytorch3d"] = result(9.0, 10.0, 8000.0)
    found = benchmark.all_rows(images, ["numba", "pytorch3d"])
    names = [(row["level"], row["solver"], row["photos"]) for row in found]
    assert names == [("L0", "numba", 1), ("L1", "numba", 1), ("L1", "pytorch3d", 1),
                     ("all", "numba", 2), ("all", "pytorch3d", 1)]  # fmt: skip
    assert found[-1]["median_time_ratio"] == 4000.0
    assert found[-1]["numba_median_error_deg"] == 2.0


def test_without_data_it_says_so(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([]) == 0
    assert "--root" in capsys.readouterr().out


def test_one_photo_end_to_end(
    benchmark: ModuleType, repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "stanford_cars3d"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    words = ["--root", root, "--limit", 1, "--solvers", "numba", "torch", "--out", tmp_path]
    assert benchmark.main([str(word) for word in words]) == 0
    document = json.loads((tmp_path / "reference.json").read_text())
    found = document["images"][0]["solvers"]
    ours, theirs = found["numba"], found[benchmark.HELD]
    assert theirs["cpu_ms"] > ours["cpu_ms"] > 0.0
    assert ours["energy"] > 0.9 * theirs["energy"] > 0.0
    assert min(each["energy"] for each in found.values()) > 0.0
    assert document["map"] == [16, 24]
    assert "| L0    | torch       | 1 " in (tmp_path / "reference.md").read_text()
    assert str(shared_data) not in json.dumps(document)
