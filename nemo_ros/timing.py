# SPDX-License-Identifier: Apache-2.0
"""How long frames took, by stage. Apart from the poses: it differs from run to run."""

from __future__ import annotations

from typing import Any

from nemo_ros.diagnostics import percentile
from nemo_ros.replay import FrameRecord

STAGES = ("total", "decode", "step")
ESTIMATE_STAGES = ("crop", "features", "solve")


class Timing:
    """Milliseconds per frame (total, decode, step) and per estimate (crop, features, solve)."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {name: [] for name in STAGES}
        self.series |= {f"{name} (per object)": [] for name in ESTIMATE_STAGES}

    def add(self, record: FrameRecord) -> None:
        """Take a frame's times."""
        for name in STAGES:
            self.series[name].append(record.milliseconds[name])
        for track in record.outcome.result.tracks:
            for name in ESTIMATE_STAGES:
                if name in track.estimate.milliseconds:
                    self.series[f"{name} (per object)"].append(track.estimate.milliseconds[name])

    def percentile(self, name: str, share: float) -> float:
        """NaN without frames."""
        return percentile(self.series[name], share)

    def as_json(self) -> dict[str, Any]:
        """Percentiles and the whole series; stages without values are left out."""
        filled = {name: values for name, values in self.series.items() if values}
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "percentiles_ms": {
                name: {key: percentile(values, share) for key, share in shares.items()}
                for name, values in filled.items()
            },
            "series_ms": filled,
        }
