# SPDX-License-Identifier: Apache-2.0
"""Which objects of a frame are looked at first, and which sought everywhere to be on the safe side.

One object can afford a global search in every frame; of many, `cold_most` have one and the others
go on as refined, in turn: the longer an object has been without its search and the less certain its
pose is, the sooner. Objects that are new, lost or weak are not part of it: they need theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.memory import Memory, Task
from nemo_model.tracking.states import State

if TYPE_CHECKING:
    from nemo_model.tracking.contest import First

CALM = 0.2
"""Doubt of a pose that is certain, beside one minus the score of another: such a one waits at most
(1 + CALM) / CALM = 6 times as long."""


def turn(task: Task) -> tuple[bool, int, bool, int]:
    """Sorts objects by who is looked at first: new ones, the longest waiting, those with a box.

    Of equals it is those that waited last, so that all wait as often.
    """
    memory = task.memory
    return memory.estimate is not None, -memory.waited, task.detection is None, -memory.waited_ns


def fresh(memory: Memory) -> bool:
    """Whether an object is not yet, or no longer, known well enough to be merely refined."""
    standing = memory.standing
    return standing is None or standing.state in (State.TENTATIVE, State.LOST)


def periodic(memory: Memory, config: TrackerConfig) -> bool:
    """Whether an object's search, of every `cold_every` frames, is due."""
    every = config.cold_every
    return bool(every) and (memory.passed_over > 0 or (memory.hits + 1) % every == 0)


def take_turns(firsts: Sequence[First], config: TrackerConfig) -> None:
    """Note for each object whether it has a search in this frame anyway (`Task.turn`)."""
    due = [
        one
        for one in firsts
        if one.task.detection is not None
        and one.prior is not None
        and not fresh(one.task.memory)
        and periodic(one.task.memory, config)
    ]
    due.sort(key=_urgency, reverse=True)  # stable: of equals the first looked at
    most = config.cold_most or len(due)
    for place, one in enumerate(due):
        one.task.turn = place < most
        one.task.memory.passed_over = 0 if one.task.turn else one.task.memory.passed_over + 1


def _urgency(one: First) -> float:
    return (one.task.memory.passed_over + 1) * (CALM + 1.0 - one.estimate.score)
