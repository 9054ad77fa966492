# SPDX-License-Identifier: Apache-2.0
"""Tentative, tracking, occluded, lost: what an object's state is, and why. Pure functions.

Two thresholds make the hysteresis: an object is tracked from `upper_score` on and stays so down to
`lower_score`; below that the image does not support it, and without support it is first occluded,
then lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from nemo_model.tracking.config import TrackerConfig


class State(str, Enum):
    """How well an object is known."""

    TENTATIVE = "tentative"
    TRACKING = "tracking"
    OCCLUDED = "occluded"
    LOST = "lost"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Standing:
    """An object's state. hits: frames that supported it; good: of at least upper_score, in a row.

    support_ns: stamp of the last frame that supported it; box_ns: of the last one with its box.
    """

    state: State
    reason: str
    support_ns: int
    box_ns: int
    hits: int = 0
    good: int = 0


@dataclass(frozen=True)
class Look:
    """What a frame told about an object.

    Attributes:
        stamp_ns: of the frame.
        boxed: the detector had a box of it.
        score: of the pose found; None: the image was not looked at (`obstacle` says why).
        how: in words, how the pose was found.
        obstacle: in words, what speaks against a pose that was found, or kept it from being
            sought; "" when nothing does.
    """

    stamp_ns: int
    boxed: bool
    score: float | None
    how: str = ""
    obstacle: str = ""


def begin(look: Look) -> Standing:
    """The standing of a new object, before `judge` takes its first look into account."""
    return Standing(State.TENTATIVE, "first seen", look.stamp_ns, look.stamp_ns)


def supports(standing: Standing, look: Look, config: TrackerConfig) -> bool:
    """Whether the frame's image speaks for the object where it is thought to be.

    A lost object has to earn upper_score again. Without a box the image alone is believed for
    bridge_s.
    """
    if look.score is None or look.obstacle:
        return False
    if not look.boxed and look.stamp_ns - standing.box_ns > config.bridge_s * 1e9:
        return False
    lost = standing.state is State.LOST
    return look.score >= (config.upper_score if lost else config.lower_score)


def judge(standing: Standing, look: Look, config: TrackerConfig) -> Standing:
    """The standing after a look."""
    box_ns = look.stamp_ns if look.boxed else standing.box_ns
    standing = replace(standing, box_ns=max(box_ns, standing.box_ns))
    if not supports(standing, look, config):
        return _unsupported(standing, look, config)
    assert look.score is not None
    good = standing.good + 1 if look.score >= config.upper_score else 0
    state = standing.state
    if state is State.LOST:
        state, good = State.TRACKING, 1
    elif state is State.TENTATIVE:
        if good >= config.confirm_hits:
            state = State.TRACKING
    elif look.boxed or look.score >= config.upper_score:
        state = State.TRACKING if state is State.TRACKING or good else State.OCCLUDED
    else:
        state = State.OCCLUDED
    reason = look.how if look.boxed else f"no box, but the image shows it; {look.how}"
    if state is State.OCCLUDED:
        reason += f"; score {look.score:.2f} is below {config.upper_score:g}"
    return replace(
        standing,
        state=state,
        reason=reason,
        support_ns=max(look.stamp_ns, standing.support_ns),
        hits=standing.hits + 1,
        good=good,
    )


def _unsupported(standing: Standing, look: Look, config: TrackerConfig) -> Standing:
    since = (look.stamp_ns - standing.support_ns) * 1e-9
    if look.obstacle:
        why = look.obstacle
    elif look.score is None:
        why = "no box"
    elif not look.boxed and look.score >= config.lower_score and standing.state is not State.LOST:
        why = f"no box for more than {config.bridge_s:g} s"
    else:
        needed = config.upper_score if standing.state is State.LOST else config.lower_score
        box = "" if look.boxed else "no box, "
        why = f"{box}score {look.score:.2f} is below {needed:g}"
    state = standing.state
    if state is State.TENTATIVE and look.boxed and look.score is not None:
        return replace(standing, reason=f"{look.how}; {why}", good=0)  # as long as it has a box
    if since > config.lost_after_s or state is State.LOST:
        state = State.LOST
        why = f"{why}; not seen for {since:.1f} s"
    elif state is not State.TENTATIVE:
        state = State.OCCLUDED
    return replace(standing, state=state, reason=why, good=0)
