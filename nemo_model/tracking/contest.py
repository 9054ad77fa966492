# SPDX-License-Identifier: Apache-2.0
"""Tracked objects whose boxes overlap compete for the cells of the frame (see together.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_model.boxes import Floats
from nemo_model.estimate import Observation
from nemo_model.together import compete
from nemo_model.tracking.budget import Purse
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.looking import solve
from nemo_model.tracking.memory import Task
from nemo_model.tracking.types import PoseEstimator

if TYPE_CHECKING:
    from nemo_model.estimator import Estimate


@dataclass(frozen=True)
class First:
    """A first look: the estimate, how it was found, and the predicted pose (None for a new one)."""

    task: Task
    estimate: Estimate
    how: str
    prior: Floats | None


def contest(
    firsts: Sequence[First],
    estimators: Mapping[str, PoseEstimator],
    config: TrackerConfig,
    purse: Purse,
) -> list[First]:
    """First looks in which what one object explains is no evidence for another.

    Objects behind another one are looked at again in what is left, as far as the budget goes, and
    their tasks keep that observation for every further search.
    """
    able = [one for one in firsts if isinstance(one.task.seen, Observation)]
    if len(able) < 2:
        return list(firsts)

    def again(k: int, seen: Observation) -> Estimate | None:
        task, prior = able[k].task, able[k].prior
        if not purse.pay(config.cost_cold_ms if prior is None else config.cost_warm_ms):
            return None
        memory = task.memory
        boxed = task.detection is not None
        try:
            return solve(estimators[memory.model], seen, prior, memory.symmetry, boxed=boxed)
        except ValueError:  # no pose in what is left: it stays as it is
            return None

    def gain(k: int, seen: Observation, estimate: Estimate) -> Floats:
        found: Floats = estimators[able[k].task.memory.model].gains(seen, estimate)
        return found

    changed: dict[str, First] = {}
    seen, alone = [one.task.seen for one in able], [one.estimate for one in able]
    settled = compete(seen, alone, again, gain)
    for one, after in zip(able, settled, strict=True):
        if after.behind:
            one.task.seen = after.seen
            names = " and ".join(able[k].task.memory.id for k in after.behind)
            how = f"{one.how}, behind {names}"
            changed[one.task.memory.id] = First(one.task, after.estimate, how, one.prior)
    return [changed.get(one.task.memory.id, one) for one in firsts]
