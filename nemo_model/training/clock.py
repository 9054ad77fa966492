# SPDX-License-Identifier: Apache-2.0
"""How long a training took and how many samples it saw, over all its resumptions."""

from __future__ import annotations

import json
import time
from pathlib import Path

TRAINING = "training.json"


class Clock:
    """Counts a run's seconds and keeps them in out/training.json beside each checkpoint.

    Args:
        out: folder of the run.
        step: steps already done; 0 begins anew.
    """

    def __init__(self, out: Path, step: int) -> None:
        self.path = out / TRAINING
        self.before = training_seconds(out) if step else 0.0
        self.start = time.perf_counter()

    def write(self, steps: int, batch: int) -> None:
        """Write what has been done so far."""
        seconds = self.before + time.perf_counter() - self.start
        row = {"steps": steps, "samples": steps * batch, "seconds": seconds}
        self.path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def training_seconds(out: Path) -> float:
    """Seconds of training recorded in a folder; 0 where none are."""
    path = out / TRAINING
    if not path.is_file():
        return 0.0
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
