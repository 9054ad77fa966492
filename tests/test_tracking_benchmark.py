# SPDX-License-Identifier: Apache-2.0
"""The report of benchmarks/tracking.py: what is counted as ahead, and that times say how."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import load_benchmark


@pytest.fixture
def report(repository: Path) -> ModuleType:
    return load_benchmark(repository, "tracking_report")


def row(seed: int, tracker: tuple[float, float, int], single: tuple[float, float, int]) -> Any:
    """median, mean, gross or missing; of eight frames that all were answered."""
    keys = ("median_deg", "mean_deg", "gross_or_missing")
    tracked, alone = (
        {**dict(zip(keys, one, strict=True)), "visible": 8, "answered": 8, "gross": one[2]}
        for one in (tracker, single)
    )
    nothing: dict[str, list[int]] = {
        f"frames_until_{what}": [] for what in ("said", "lost", "found")
    }
    return {
        "name": "turn", "seed": seed, "tracker": tracked | {"confident_gross": 0},
        "frame_by_frame": alone, "id_switches": 0, **nothing,
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    times = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms", "waiting_per_frame"), 1.0)
    timing = [
        {"objects": 1, "budget_ms": 0.0, "counted_by": "table", "roll": roll, "over_budget": None}
        | times
        for roll in (False, True)
    ]
    rows = [row(0, (1.0, 3.0, 0), (2.0, 2.0, 1)), row(1, (2.0, 2.0, 1), (2.0, 4.0, 0))]
    return {
        "command": "c", "model": "m", "machine": "x", "sequences": rows, "load": 0.5,
        "timing": timing,
    }  # fmt: skip


def test_what_is_level_is_not_ahead(report: ModuleType, document: dict[str, Any]) -> None:
    text = report.markdown(document)
    assert "| 0 | 1 | 1 | 0 | 1 | 0 | 0 | 0.50, 1.50 |" in text
    assert "| 1 | 1 | 0 | 1 | 0 | 0 | 1 | 1.00, 0.50 |" in text


def test_times_say_whether_the_roll_was_read(report: ModuleType, document: dict[str, Any]) -> None:
    text = report.markdown(document)
    assert "| 1 | none | table | not read | 1.0 |" in text
    assert "| 1 | none | table | read | 1.0 |" in text
