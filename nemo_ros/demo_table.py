# SPDX-License-Identifier: Apache-2.0
"""What `make demo` prints: scores by hidden share, by object and by category, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nemo_ros import scoring
from nemo_ros.scoring import Match
from nemo_ros.shows import Bounds

Hidden = Mapping[tuple[int, str], float]
"""Hidden share in [0, 1] by stamp and id."""
Row = tuple[str, int, list[Match]]
"""Name, objects of the ground truth, those that were found."""

BANDS = ((0.0, 0.1), (0.1, 0.4), (0.4, 1.0))
"""Hidden shares that are scored apart."""


def head(name: str) -> str:
    """The line above the rows."""
    return (f"{name:<18}{'objects':>8}{'found':>7}{'<30 deg':>9}{'<10 deg':>9}{'rotation':>10}"
            f"{'position':>10}")  # fmt: skip


def line(row: Row) -> str:
    """A row as text: shares of the found, medians of their errors."""
    name, total, matches = row
    if not matches:
        return f"{name:<18}{total:>8}{0:>7}"
    rotation = np.array([m.rotation_deg for m in matches])
    position = np.median([m.position_m for m in matches])
    return (
        f"{name:<18}{total:>8}{len(matches):>7}{100 * (rotation < 30).mean():>7.0f} %"
        f"{100 * (rotation < 10).mean():>7.0f} %{np.median(rotation):>6.1f} deg{position:>8.2f} m"
    )


def rows(scores: scoring.Scores, hidden: Hidden) -> list[Row]:
    """All objects, then by hidden share, then by object."""
    found: list[Row] = [("all", scores.truth_objects, list(scores.matches))]
    for low, high in BANDS:
        keys = {key for key, share in hidden.items() if low <= share < high}
        name = (
            f"hidden {100 * low:.0f}-{100 * high:.0f} %" if high < 1 else f"over {100 * low:.0f} %"
        )
        matches = [m for m in scores.matches if (m.stamp_ns, m.truth_id) in keys]
        found.append((name, len(keys), matches))
    for one in scores.objects:
        matches = [m for m in scores.matches if m.truth_id == one.id]
        found.append((f"{one.category} {one.id}", one.frames, matches))
    return found


def by_category(several: Sequence[scoring.Scores]) -> list[Row]:
    """One row per category, over several recordings, in the order of their first objects."""
    names = list(dict.fromkeys(one.category for scores in several for one in scores.objects))
    found: list[Row] = []
    for name in names:
        total, matches = 0, []
        for scores in several:
            total += sum(one.frames for one in scores.objects if one.category == name)
            matches += [m for m in scores.matches if m.category == name]
        found.append((name, total, matches))
    return found


def faults(scores: scoring.Scores, bounds: Bounds) -> list[str]:
    """What is not sane about a result, in words; nothing when it is."""
    answered = scores.answered_frames / max(scores.truth_frames, 1)
    found = []
    if answered < bounds.answered:
        found.append(
            f"{100 * answered:.0f} % of the frames answered (at least "
            f"{100 * bounds.answered:.0f} % expected)"
        )
    everything = ("all", scores.truth_objects, list(scores.matches))
    for name, _, matches in (everything, *by_category([scores])):
        least = bounds.acc_30 if name == "all" else bounds.categories.get(name, 0.0)
        share = sum(m.rotation_deg < 30.0 for m in matches) / max(len(matches), 1)
        if share < least:
            found.append(
                f"{name}: {100 * share:.0f} % of the poses within 30 degrees (at least "
                f"{100 * least:.0f} % expected)"
            )
    return found
