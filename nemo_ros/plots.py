# SPDX-License-Identifier: Apache-2.0
"""The report's figures as SVG, drawn with matplotlib's object interface: no global state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nemo_model.plotting import COLOURS, SOFT, plain_axes

GAP = 3.0
"""A pause of more than so many usual steps interrupts a curve."""
LEGEND = 8
"""With more curves than this there is no legend."""


@dataclass(frozen=True)
class Curve:
    """Values over seconds."""

    name: str
    times_s: Sequence[float]
    values: Sequence[float]


def timeline(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    limits: Sequence[float] = (),
    top: float | None = None,
) -> bytes:
    """Curves over time as SVG.

    Args:
        limits: values to mark by a dashed line.
        top: upper end of the scale; None: by the values.
    """
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        times, values = _interrupted(curve)
        axes.plot(
            times,
            values,
            color=COLOURS[number % len(COLOURS)],
            linewidth=1.6,
            marker=".",
            markersize=3.5,
            label=curve.name,
        )
    highest = max((max(curve.values, default=0.0) for curve in curves), default=0.0)
    for limit in limits:
        if limit < 1.5 * max(highest, limits[0]):
            axes.axhline(limit, color=SOFT, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
    axes.set_ylim(0.0, top * 1.04 if top is not None else None)
    axes.set_xlabel("s", color=SOFT)
    if 1 < len(curves) <= LEGEND:
        axes.legend(frameon=False, fontsize=8, ncols=min(len(curves), 4), loc="best")
    return _svg(figure, axes, title, unit)


def histogram(title: str, unit: str, values: Sequence[float]) -> bytes:
    """How often values occur, as SVG; the few beyond the 99.5th percentile go in the last bin."""
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = figure.add_subplot()
    array = np.asarray(values, dtype=np.float64)
    end = max(float(np.percentile(array, 99.5)) * 1.05, 1e-3)
    axes.hist(np.minimum(array, end), bins=40, range=(0.0, end), color=COLOURS[0])
    axes.set_xlabel(unit, color=SOFT)
    return _svg(figure, axes, title, "frames")


def _interrupted(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The curve with NaN where it pauses, so that no line bridges a gap."""
    times = np.asarray(curve.times_s, dtype=np.float64)
    values = np.asarray(curve.values, dtype=np.float64)
    if times.size < 3:
        return times, values
    steps = np.diff(times)
    breaks = np.flatnonzero(steps > GAP * np.median(steps)) + 1
    return np.insert(times, breaks, np.nan), np.insert(values, breaks, np.nan)


def _svg(figure: Figure, axes: Axes, title: str, unit: str) -> bytes:
    plain_axes(axes, f"{title}, {unit}")
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "nemo", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
