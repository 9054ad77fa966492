# SPDX-License-Identifier: Apache-2.0
"""How the plots of all reports look."""

from __future__ import annotations

from matplotlib.axes import Axes

COLOURS = ("#2563eb", "#e8590c", "#0a9396", "#9c36b5", "#5c940d", "#c2255c", "#495057", "#b08900")
INK, SOFT, LINE = "#1b1f24", "#667080", "#e3e7ec"


def plain_axes(axes: Axes, title: str) -> None:
    """A title at the left, a light grid, no frame."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=0)
