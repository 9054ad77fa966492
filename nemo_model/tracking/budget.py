# SPDX-License-Identifier: Apache-2.0
"""How much may be done in a frame: a purse of milliseconds, spent by a table of costs.

Without a clock the table alone counts: the same frames are worked on in the same order wherever
they run, and replay gives the same bytes each time. The live node adds a clock, since a busy
machine takes longer than the table says.
"""

from __future__ import annotations

from collections.abc import Callable

from nemo_model.tracking.config import TrackerConfig

Clock = Callable[[], float]
"""Seconds, never going back."""

CAUTION, REST_MS, REST_SHARE = 1.3, 1.0, 0.1
"""Against the clock: work may take CAUTION times as long as so far; REST_MS and a share of the
budget are held back for what nobody pays for, which is some work for each object."""


class Purse:
    """The budget of one frame. The first payment is always allowed, so that work goes on.

    With a clock, time counts where it is more than what was paid, and what is to come is expected
    to take as much longer than the table says as it did so far.
    """

    def __init__(self, config: TrackerConfig, clock: Clock | None = None) -> None:
        self._limit = config.budget_ms
        self._clock = clock if config.budget_ms > 0.0 else None
        self._start = 0.0 if self._clock is None else self._clock()
        self.spent = 0.0

    @property
    def timed(self) -> bool:
        """Whether a clock counts, so that work has to be done piece by piece."""
        return self._clock is not None

    def fits(self, cost: float) -> bool:
        """Whether a cost in ms may be spent."""
        if self._limit <= 0.0 or self.spent == 0.0:
            return True
        if self._clock is None:
            return self.spent + cost <= self._limit
        used = max(self.spent, 1e3 * (self._clock() - self._start))
        return (
            used + CAUTION * cost * used / self.spent <= (1.0 - REST_SHARE) * self._limit - REST_MS
        )

    def pay(self, cost: float) -> bool:
        """Spend a cost in ms, if it fits; returns whether it did."""
        if not self.fits(cost):
            return False
        self.spent += cost
        return True
