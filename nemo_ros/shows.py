# SPDX-License-Identifier: Apache-2.0
"""What `make demo` plays, with which model, and how bad its result may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Bounds:
    """Sanity: worse than this, and something is broken.

    Attributes:
        answered: share of the frames that must be answered (a busy machine drops some).
        acc_30: share of the poses, over all categories, within 30 degrees of the truth.
        categories: the same of single categories.
    """

    answered: float = 0.2
    acc_30: float = 0.75
    categories: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Show:
    """A recording, the model for it (None: models/car) and its bounds.

    ground_truth.csv, with the hidden shares, lies beside the recording.
    """

    name: str
    bag: Path
    model: Path | None = None
    bounds: Bounds = Bounds()


SHOWS = (
    Show("car", ROOT / "demo" / "recording"),
    Show(
        "household",
        ROOT / "demo" / "household" / "recording",
        ROOT / "models" / "household",
        Bounds(acc_30=0.6, categories={"car": 0.75, "chair": 0.4, "sofa": 0.4, "diningtable": 0.4}),
    ),
)
