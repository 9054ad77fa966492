# SPDX-License-Identifier: Apache-2.0
"""Objects whose category is to be found: what several frames say of it.

An object with the category `auto` is searched for with the mesh of every category until one is
sure; what each look says is added up, and the object's category is the one that leads. It changes
only when another one leads clearly in the sum: not at every frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nemo_model.estimate import Observation
from nemo_model.recogniser import Recogniser, comparable
from nemo_model.symmetry import NONE
from nemo_model.tracking.budget import Purse
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.looking import checked
from nemo_model.tracking.memory import Memory

AUTO = "auto"
"""Category of a box whose class is not known."""
SURE = 0.99
"""A category this probable is not asked for in every frame."""
AGAIN = 10
"""... but in one of so many."""
CLEARLY = 0.6
"""Another category takes over when it is at least this probable."""


def recogniser_of(estimators: Mapping[str, Any]) -> Recogniser | None:
    """What tells the categories apart; None where they cannot be compared."""
    return Recogniser(estimators) if comparable(list(estimators.values())) else None


def searches(category: str, recogniser: Recogniser | None) -> int:
    """How many global searches the first look at an object takes."""
    return 1 if category != AUTO or recogniser is None else len(recogniser.categories)


def recognise(
    memory: Memory, seen: Any, recogniser: Recogniser | None, config: TrackerConfig, purse: Purse
) -> tuple[Any, str] | None:
    """Ask for the category of an object seen in a box; None where it stays what it is.

    The first look is paid already; another one is made where the budget allows it. Returns the
    estimate of a category that is new to the object, and how it was found; sets `kind`.

    Raises:
        ValueError: when the result cannot be a pose.
    """
    if memory.category != AUTO or recogniser is None or not isinstance(seen, Observation):
        return None
    first = memory.estimate is None
    if not first:
        memory.asked += 1
        if memory.certainty >= SURE and memory.asked % AGAIN:
            return None
        if not purse.pay(config.cost_cold_ms * len(recogniser.categories)):
            return None
    sight = recogniser.look(seen)
    memory.evidence = memory.evidence.plus(sight.gains)
    shares = memory.evidence.probabilities(recogniser.temperature)
    best = max(shares, key=lambda category: shares[category])
    if not first and (best == memory.kind or shares[best] < CLEARLY):
        memory.certainty = shares[memory.kind]
        return None
    memory.kind, memory.certainty = best, shares[best]
    memory.symmetry = getattr(recogniser.estimators[best], "symmetry", NONE)
    memory.rival, memory.turned, memory.weak_run = None, 1.0, 0
    estimate = checked(recogniser.complete(seen, sight.estimates[best]))
    how = "first seen" if first else "found anew"
    return estimate, f"{how}, as {best} with probability {shares[best]:.2f}"


def weighed(estimate: Any, memory: Memory) -> Any:
    """The estimate with a score that the category is right as well."""
    if memory.category != AUTO:
        return estimate
    return replace(estimate, score=estimate.score * memory.certainty)
