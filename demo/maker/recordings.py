# SPDX-License-Identifier: Apache-2.0
"""The recordings that ship, by the name of their scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maker import street_plan, terrace_plan
from maker.timeline import Timeline

DEMO = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Recording:
    """A recording: its plan, and the folder of its bag; ground_truth.csv lies beside the bag."""

    plan: Timeline
    bag: Path


RECORDINGS = {
    "street": Recording(street_plan.TIMELINE, DEMO / "recording"),
    "terrace": Recording(terrace_plan.TIMELINE, DEMO / "household" / "recording"),
}
