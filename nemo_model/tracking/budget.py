# SPDX-License-Identifier: Apache-2.0
"""How much may be done in a frame: a purse of milliseconds, spent by a table of costs.

No clock is read: the same frames are worked on in the same order wherever they run, so replay gives
the same bytes as the node. The costs are settings; what a machine really takes is in the report.
"""

from __future__ import annotations

from nemo_model.tracking.config import TrackerConfig


class Purse:
    """The budget of one frame. The first payment is always allowed, so that work goes on."""

    def __init__(self, config: TrackerConfig) -> None:
        self._limit = config.budget_ms
        self.spent = 0.0

    def fits(self, cost: float) -> bool:
        """Whether a cost in ms may be spent."""
        return self._limit <= 0.0 or self.spent == 0.0 or self.spent + cost <= self._limit

    def pay(self, cost: float) -> bool:
        """Spend a cost in ms, if it fits; returns whether it did."""
        if not self.fits(cost):
            return False
        self.spent += cost
        return True

    def spend(self, cost: float) -> None:
        """Spend what was agreed to before."""
        self.spent += cost
