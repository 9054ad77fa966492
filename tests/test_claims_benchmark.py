# SPDX-License-Identifier: Apache-2.0
"""benchmarks/claims.py: from the tables' CSV to the page of claims, by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import pytest
from loading import load_benchmark

from nemo_model.comparison.csvfile import COLUMNS


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "claims")


def write(
    folder: Path, kind: str, column: str, figures: dict[str, tuple[float, float]], steps: int = 300
) -> None:
    """A table.csv of one column, the first system the reference; value and difference."""
    (folder / kind).mkdir()
    with (folder / kind / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for place, (system, (value, difference)) in enumerate(figures.items()):
            for metric in ("acc_pi_6", "acc_pi_18"):
                row = {
                    "kind": kind.split("-")[0], "data": "cars", "source": "s", "split": "val",
                    "system": system, "protocol": "paper", "occluders_in_training": "1",
                    "column": column, "category": "car", "metric": metric, "value": value,
                    "objects": "400", "seeds": "0 1 2", "steps": str(steps), "batch": "32",
                }  # fmt: skip
                if place:
                    row |= {
                        "difference": difference,
                        "difference_low": difference - 0.02,
                        "difference_high": difference + 0.01,
                    }
                writer.writerow(row)


def test_claims_stand_beside_the_papers_figures(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "occlusion", "L3", {"nemo": (0.75, 0.0), "res50-specific": (0.7, -0.05)})
    write(tmp_path, "ablation", "L0", {"nemo": (0.9, 0.0), "nemo-no-contrast": (0.5, -0.4)})
    out = tmp_path / "claims.md"
    assert benchmark.main(["--results", str(tmp_path), "--out", str(out)]) == 0
    text = " ".join(out.read_text().split()).replace("3 seeds, 300 steps", "as asked")
    assert "| NeMo-SingleCuboid | 45.8 / 15.1 | 75.0 / 75.0 (n = 400, as asked) |" in text
    assert (
        "| Res50-Specific | 41.3 / 13.8 | 70.0 / 70.0 (n = 400, as asked) | 5.0 (4.0 to 7.0)"
        in text
    )
    assert "| nemo-no-contrast | | 50.0 / 50.0 (n = 400, as asked) | 40.0 (39.0 to 42.0)" in text
    assert "StarMap" not in text
    assert str(out) in capsys.readouterr().out


def test_whom_the_table_compares_with_comes_first(benchmark: ModuleType, tmp_path: Path) -> None:
    """Which is the method with a prior where that was the table's reference, else without."""
    out = tmp_path / "claims.md"
    figures = {"nemo-viewpoint": (0.8, 0.0), "nemo": (0.7, -0.1), "res50-specific": (0.6, -0.2)}
    write(tmp_path, "occlusion", "L3", figures)
    turned = {"nemo": (0.7, 0.0), "nemo-viewpoint": (0.8, 0.1), "starmap": (0.3, -0.4)}
    write(tmp_path, "unseen", "unseen", turned)
    assert benchmark.main(["--results", str(tmp_path), "--out", str(out)]) == 0
    order = [
        line.split("|")[2].strip() for line in out.read_text().splitlines() if "n = 400" in line
    ]
    assert order == [
        "NeMo, silhouettes and prior", "NeMo-SingleCuboid", "Res50-Specific",
        "NeMo-SingleCuboid", "NeMo, silhouettes and prior", "StarMap",
    ]  # fmt: skip


def test_of_two_tables_the_longer_trainings_count(benchmark: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "claims.md"
    for name, steps, value in (("a", 300, 0.5), ("b", 1200, 0.8), ("c", 600, 0.6)):
        write(tmp_path, f"occlusion-{name}", "L3", {"nemo": (value, 0.0)}, steps)
    assert benchmark.main(["--results", str(tmp_path), "--out", str(out)]) == 0
    assert "80.0 / 80.0 (n = 400, 3 seeds, 1200 steps)" in out.read_text()


def test_the_page_in_the_repository_is_of_its_tables(
    benchmark: ModuleType, repository: Path, tmp_path: Path
) -> None:
    results, out = repository / "benchmarks" / "results", tmp_path / "claims.md"
    assert benchmark.main(["--results", str(results / "tables"), "--out", str(out)]) == 0
    assert out.read_text() == (results / "claims.md").read_text()


def test_without_tables_it_says_so(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["--results", str(tmp_path)]) == 2
    assert "table.csv" in capsys.readouterr().err
