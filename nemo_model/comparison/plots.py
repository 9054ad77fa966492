# SPDX-License-Identifier: Apache-2.0
"""A table's plots as PNG: accuracy by column with intervals, errors, accuracy by azimuth."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nemo_model.comparison.cells import ALL, Cell, gather
from nemo_model.comparison.plan import Plan, Row
from nemo_model.comparison.runner import Outcome
from nemo_model.evaluation import metrics
from nemo_model.plotting import COLOURS, SOFT, plain_axes

EDGES = np.array([0, 5, 10, 15, 20, 25, 30, 45, 60, 90, 120, 150, 180.0])
"""Bins of the error histogram, degrees."""
DOTS_PER_INCH = 130


def make_plots(plan: Plan, outcome: Outcome, cells: Sequence[Cell]) -> dict[str, bytes]:
    """PNG files by name, those of each protocol that has results."""
    whole = ALL if len(plan.config.categories) > 1 else plan.config.categories[0]
    found = {}
    for protocol in plan.config.protocols:
        mine = [cell for cell in cells if cell.protocol == protocol and cell.category == whole]
        if mine:
            found[f"{protocol}-accuracy.png"] = _accuracy(plan, mine)
            found[f"{protocol}-errors.png"] = _errors(plan, outcome, protocol)
            found[f"{protocol}-azimuth.png"] = _azimuth(plan, outcome, protocol)
    return found


def _accuracy(plan: Plan, cells: Sequence[Cell]) -> bytes:
    """Each row's accuracy in every column, with its interval, for both limits."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, metric, text in zip(panels, ("acc_pi_6", "acc_pi_18"), (30, 10), strict=True):
        for number, row in enumerate(plan.rows):
            mine = {cell.column: cell.figures[metric] for cell in cells if cell.row == row}
            places = [k for k, column in enumerate(plan.columns) if column in mine]
            values = [mine[plan.columns[k]] for k in places]
            if not values:
                continue
            shift = 0.05 * (number - (len(plan.rows) - 1) / 2)  # so that intervals stand apart
            y = np.array([100 * each.value for each in values])
            reach = np.array([[100 * (v.value - v.low), 100 * (v.high - v.value)] for v in values])
            axes.errorbar(np.array(places) + shift, y, yerr=np.maximum(reach.T, 0), capsize=2.5,
                          marker="o", markersize=3.5, **_style(plan, row))  # fmt: skip
        axes.set_xticks(range(len(plan.columns)), [column.name for column in plan.columns])
        axes.set_ylim(0, 102)
        plain_axes(axes, f"Below {text} degrees, % of the objects, 95 % intervals")
    return _png(figure, panels[0])


def _errors(plan: Plan, outcome: Outcome, protocol: str) -> bytes:
    """How the errors are spread, in every column."""
    figure, panels = _panels(plan)
    for axes, column in zip(panels, plan.columns, strict=True):
        for row in plan.rows:
            found = gather(plan, outcome, protocol, plan.config.categories, column, row)
            if found is not None:
                counts = np.histogram(np.minimum(found.errors, 180.0), EDGES)[0]
                shares = 100 * counts / found.errors.size
                axes.stairs(shares, range(len(EDGES)), **_style(plan, row))
        axes.set_xticks(range(len(EDGES)), [f"{edge:g}" for edge in EDGES])
        axes.set_xlabel("rotation error, degrees", color=SOFT)
        axes.set_ylim(bottom=0)
        plain_axes(axes, f"{column.name}: % of the objects per bin")
    return _png(figure, panels[0])


def _azimuth(plan: Plan, outcome: Outcome, protocol: str) -> bytes:
    """Accuracy at pi/6 by the true azimuth, in every column."""
    width = 360.0 / metrics.AZIMUTH_BINS
    figure, panels = _panels(plan)
    for axes, column in zip(panels, plan.columns, strict=True):
        counts: list[int] = [0] * metrics.AZIMUTH_BINS
        for row in plan.rows:
            found = gather(plan, outcome, protocol, plan.config.categories, column, row)
            if found is None:
                continue
            bins = np.array([metrics.azimuth_bin(each) for each in found.azimuths])
            parts = [found.errors[:, bins == k] for k in range(len(counts))]
            counts = [part.shape[1] for part in parts]
            shares = [100 * metrics.accuracy(part, metrics.PI_6) for part in parts]
            axes.plot(range(len(counts)), shares, marker="o", markersize=3.5, **_style(plan, row))
        axes.set_xticks(range(len(counts)), [f"{k * width:g}\nn={n}" for k, n in enumerate(counts)])
        axes.set_xlabel("azimuth, degrees (0 sees the front)", color=SOFT)
        axes.set_ylim(0, 102)
        plain_axes(axes, f"{column.name}: below 30 degrees, %")
    return _png(figure, panels[0])


def _panels(plan: Plan) -> tuple[Figure, list[Axes]]:
    """A figure with a panel per column, two side by side."""
    lines = (len(plan.columns) + 1) // 2
    figure = Figure(figsize=(10.5, 0.6 + 3.1 * lines), layout="constrained")
    panels = list(figure.subplots(lines, 2, sharey=True, squeeze=False).ravel())
    for spare in panels[len(plan.columns) :]:
        spare.set_axis_off()
    return figure, panels[: len(plan.columns)]


def _style(plan: Plan, row: Row) -> dict[str, Any]:
    """A colour per system; dashed where it was trained without occluders."""
    number = plan.config.systems.index(row.system)
    mixed = len({each.occluders for each in plan.rows}) > 1
    tail = "" if not mixed else ", with occluders" if row.occluders else ", without"
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": "-" if row.occluders else (0, (4, 2)),
        "linewidth": 1.5,
        "label": f"{row.title}{tail}",
    }


def _png(figure: Figure, first: Axes) -> bytes:
    handles, labels = first.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False,
                      fontsize=8.5)  # fmt: skip
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
