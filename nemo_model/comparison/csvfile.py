# SPDX-License-Identifier: Apache-2.0
"""A table as CSV: one line per figure, for spreadsheets and own plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from nemo_model.comparison.cells import Cell
from nemo_model.comparison.plan import Plan
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.statistics import METRICS, Interval, verdict

COLUMNS = (
    "kind", "data", "source", "split", "protocol", "system", "occluders_in_training", "column",
    "category", "metric", "value", "low", "high", "difference", "difference_low",
    "difference_high", "verdict", "objects", "seeds", "steps", "batch", "training_seconds",
)  # fmt: skip
"""Shares in [0, 1], medians in degrees; differences are to the reference system."""


def text(plan: Plan, outcome: Outcome, cells: Sequence[Cell]) -> str:
    """The file's content; lines end in a newline alone."""
    config = plan.config
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in cells:
        runs = [plan.run(cell.row, seed) for seed in cell.seeds]
        trained = [outcome.trained[run].seconds for run in runs if run in outcome.trained]
        seconds = f"{sum(trained) / len(trained):.0f}" if trained else ""
        for metric in METRICS:
            gap = cell.gaps.get(metric)
            writer.writerow([
                config.kind, config.root.name, config.source, config.split, cell.protocol,
                cell.row.system, int(cell.row.occluders), cell.column.name, cell.category, metric,
                *_numbers(cell.figures[metric]), *(_numbers(gap) if gap else ("", "", "")),
                verdict(gap, metric) if gap else "", cell.objects,
                " ".join(map(str, cell.seeds)), config.steps, config.batch, seconds,
            ])  # fmt: skip
    return buffer.getvalue()


def _numbers(interval: Interval) -> tuple[str, str, str]:
    return f"{interval.value:.6f}", f"{interval.low:.6f}", f"{interval.high:.6f}"
