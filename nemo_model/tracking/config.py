# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nemo_model.errors import NemoError
from nemo_model.tracking.roll import FEWEST

_SHARES = ("min_iou", "still_iou", "weak_energy", "upper_score", "lower_score")


@dataclass(frozen=True)
class TrackerConfig:
    """Settings; every one has a unit and says what switches it off."""

    # which box belongs to which object
    min_iou: float = 0.3  # overlap with its predicted box that joins a box without an id
    min_box_px: float = 4.0  # smaller boxes, or less than this inside the image: rejected
    still_iou: float = 0.9  # a box that overlaps its last one more than this has not moved
    # states
    upper_score: float = 0.5  # an object is tracked (again) from this score on
    lower_score: float = 0.2  # below this the image does not support the pose
    confirm_hits: int = 2  # frames of at least upper_score until it is no longer tentative
    lost_after_s: float = 0.2  # without support for longer: lost
    bridge_s: float = (
        2.0  # without a box, the image alone supports it no longer than this; 0: never
    )
    forget_after_s: float = 5.0  # a lost object is known again by its place until then
    # clock
    max_gap_s: float = 2.0  # all objects are forgotten when the stream paused longer; 0: never
    reset_jump_s: float = 1.0  # a stamp further back than this starts anew (a bag that loops)
    # what is looked at
    look_most: int = 8  # so many objects a frame, the longest waiting first; 0: all
    # search
    weak_energy: float = 0.7  # warm energy below this share of the object's usual: weak; 0: never
    weak_every: int = 3  # while weak, the global search runs every so many frames; 0: never
    cold_every: int = 1  # the global search runs at every so many frames anyway; 0: never
    cold_most: int = 1  # so many objects a frame have that search, in turn (effort.py); 0: all
    switch_gain: float = 0.05  # energy share that another orientation must win by, in the mean
    grid_deg: float = 15.0  # step of the local grid that a weak object is sought on; 0: never
    # motion
    damping_s: float = 1.0  # a predicted velocity dies away with this time constant; 0: no motion
    roll_corners: int = 150  # of the background, for the camera's roll; at least 20; 0: not read
    # boxes that come late
    buffer_frames: int = 10  # images kept for boxes that come after their image; 0: none
    # budget: counted by these costs (and live by the clock as well, where that is more)
    budget_ms: float = 0.0  # work per frame; what does not fit waits for the next one; 0: no limit
    cost_observe_ms: float = 4.0  # of running the network on one box
    cost_warm_ms: float = 1.0  # of one refinement
    cost_cold_ms: float = 8.0  # of one global search

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not value >= 0:
                raise NemoError(f"tracker config: {entry.name} must not be negative")
            if entry.name in _SHARES and value > 1.0:
                raise NemoError(f"tracker config: {entry.name} is {value}, it must lie in [0, 1]")
        if 0 < self.roll_corners < FEWEST:
            raise NemoError(
                f"tracker config: roll_corners is {self.roll_corners}, it must be 0 or at least "
                f"{FEWEST}"
            )
        if not self.min_box_px >= 1.0:
            raise NemoError("tracker config: min_box_px must be at least 1")
        if self.lower_score > self.upper_score:
            raise NemoError(
                f"tracker config: lower_score is {self.lower_score}, it must not be above "
                f"upper_score, {self.upper_score}"
            )
