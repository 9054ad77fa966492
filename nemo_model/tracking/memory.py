# SPDX-License-Identifier: Apache-2.0
"""What is remembered of an object between frames, and where that puts it in the next one."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nemo_model.boxes import Box, Detection, Floats
from nemo_model.camera import Camera
from nemo_model.recognise import Evidence
from nemo_model.symmetry import NONE, Symmetry
from nemo_model.tracking.association import Expected
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.motion import (
    Motion,
    Steadier,
    advance,
    carry_box,
    learn,
    still,
    swung,
)
from nemo_model.tracking.roll import rolled
from nemo_model.tracking.states import Standing, State

if TYPE_CHECKING:
    from nemo_model.estimator import Estimate

_STEP = 0.04
"""How much a predicted box is off after one frame, as a share of its size."""
_RATE = 0.15
"""Weight of the newest frame in the means of the jitter."""


@dataclass
class Jitter:
    """How much a detector's boxes jitter, by how their sizes differ from the predicted ones.

    variance: mean square of the log ratios; carried: mean product of this frame's and the last
    one's. Jitter is new in every frame; what is carried on is a mistake of the prediction.
    """

    variance: float = 2 * _STEP**2
    carried: float = 0.0
    last: tuple[float, float] = (0.0, 0.0)

    def learn(self, width: float, height: float) -> None:
        """Take the log ratios of a frame."""
        now = (min(max(width, -0.4), 0.4), min(max(height, -0.4), 0.4))
        square = (now[0] ** 2 + now[1] ** 2) / 2
        product = (now[0] * self.last[0] + now[1] * self.last[1]) / 2
        self.variance += _RATE * (square - self.variance)
        self.carried += _RATE * (product - self.carried)
        self.last = now

    def gain(self) -> float:
        """The weight of a new box against the predicted one: 1 without jitter.

        Of a Kalman filter with that much noise per side; the log of a side has twice a side's.
        """
        noise = max(self.variance - 3.0 * max(self.carried, 0.0), 0.0) / 2
        return max(_STEP**2 / (_STEP**2 + max(noise - _STEP**2, 0.0)), 0.2)


@dataclass
class Rival:
    """Another orientation that explains the image about as well, followed beside the track's own.

    T (4, 4). evidence: leaky sum of its energy's lead, as a share; frames: of its life.
    """

    T: Floats
    evidence: float
    frames: int = 0


@dataclass(frozen=True)
class Picture:
    """An image that is kept for boxes that may come late.

    roll: of the camera since the picture before, radians, see tracking.roll; 0 while no object is
    known.
    """

    image: NDArray[np.uint8]
    camera: Camera
    stamp_ns: int
    roll: float = 0.0


@dataclass(frozen=True)
class Trusted:
    """A pose (4, 4) that a box of the detector confirmed, turned as the camera has rolled since."""

    T: Floats
    camera: Camera
    stamp_ns: int


@dataclass(frozen=True)
class Past:
    """Where the object was in an earlier frame; supported: the image said so."""

    stamp_ns: int
    T: Floats
    box: Box
    camera: Camera
    supported: bool


@dataclass
class Memory:
    """An object. Without an estimate it still waits for its first turn.

    category: as the detector has it, perhaps one to be found (recognising.AUTO); kind: the found
    one, by the evidence, with a certainty; asked: how often that was thought of.
    """

    id: str
    category: str
    box: Box
    camera: Camera
    stamp_ns: int
    first_stamp_ns: int
    symmetry: Symmetry = NONE
    standing: Standing | None = None
    estimate: Estimate | None = None
    trusted: Trusted | None = None
    motion: Motion = field(default_factory=still)
    reference: float = 0.0  # usual energy
    turned: float = 1.0  # mean lead over the pose turned round by 180 degrees, as a share
    weak_run: int = 0  # weak frames in a row
    rival: Rival | None = None
    owed: bool = False  # a search did not fit into the budget
    passed_over: int = 0  # frames since a search was due that others had instead
    waited: int = 0  # frames without a turn
    waited_ns: int = 0  # stamp of the frame in which it last waited
    looked_ns: int = 0  # stamp of the last look at it
    jitter: Jitter = field(default_factory=lambda: Jitter())
    steadier: Steadier = field(default_factory=Steadier)
    history: deque[Past] = field(default_factory=lambda: deque(maxlen=32))
    kind: str = ""
    evidence: Evidence = field(default_factory=lambda: Evidence())
    certainty: float = 0.0
    asked: int = 0

    @property
    def model(self) -> str:
        """The category whose estimator is used."""
        return self.kind or self.category

    @property
    def hits(self) -> int:
        return 0 if self.standing is None else self.standing.hits

    @property
    def lost(self) -> bool:
        return self.standing is not None and self.standing.state is State.LOST

    def pose_at(self, stamp_ns: int, config: TrackerConfig) -> Floats:
        """The predicted pose (4, 4)."""
        assert self.estimate is not None
        dt = (stamp_ns - self.stamp_ns) * 1e-9
        return advance(self.estimate.T_cam_obj, self.motion, dt, config.damping_s)

    def box_at(self, ahead: Floats, camera: Camera) -> Box:
        """The box that belongs to a predicted pose, not cut at the image's edge."""
        assert self.estimate is not None
        size = self.estimate.size
        return carry_box(self.box, self.estimate.T_cam_obj, ahead, size, self.camera, camera)

    def expected(self, stamp_ns: int, camera: Camera, config: TrackerConfig) -> Expected:
        """Where boxes are looked for."""
        if self.estimate is None or self.standing is None:
            return Expected(self.category, self.box)
        box = self.box_at(self.pose_at(stamp_ns, config), camera)
        unseen = max(0.0, (stamp_ns - self.standing.support_ns) * 1e-9)
        recent = unseen <= config.lost_after_s
        return Expected(self.category, box, 0.0 if recent else unseen, self.lost)

    def smoothed(self, box: Box, ahead: Box, camera: Camera) -> Box:
        """The detector's box, held towards the predicted one as much as boxes were seen to jitter.

        How much is learnt from width and height, which a shaking camera does not change.
        """
        size, old = _sides(box), _sides(ahead)
        sides = (camera.width, camera.height) * 2
        whole = [1.5 < box[k] < last - 2.5 for k, last in enumerate(sides)]
        usable = all(whole) and min(*size, *old) > 1.0
        if usable:
            self.jitter.learn(math.log(size[0] / old[0]), math.log(size[1] / old[1]))
        if self.hits < 3 or self.lost or not usable:
            return box
        gain = self.jitter.gain()
        x1, y1, x2, y2 = (ahead[k] + gain * (box[k] - ahead[k]) for k in range(4))
        return (x1, y1, x2, y2)

    def place(self, estimate: Estimate, box: Box, camera: Camera, stamp_ns: int) -> None:
        """Take a pose found in a frame."""
        self.estimate, self.box, self.camera, self.stamp_ns = estimate, box, camera, stamp_ns

    def trust(self, T: Floats, camera: Camera, stamp_ns: int, fresh: bool) -> None:
        """Learn the motion from a pose that a box of the detector confirms.

        Poses found without one teach nothing: they go where the motion leads them. fresh: the pose
        does not continue the motion so far.
        """
        last = self.trusted
        if last is None or fresh:
            doubt = 0.0 if self.estimate is None else self.doubt(self.estimate)
            self.motion, self.steadier = still(), Steadier(variance=doubt)
        elif np.array_equal(camera.K, last.camera.K):
            self.motion = learn(self.motion, last.T, T, (stamp_ns - last.stamp_ns) * 1e-9)
        self.trusted = Trusted(T, camera, stamp_ns)

    def follow(self, T: Floats, box: Box) -> None:
        """Take a better place for the present pose: its motion goes on."""
        assert self.estimate is not None
        self.estimate, self.box = replace(self.estimate, T_cam_obj=T), box

    def roll(self, angle: float) -> None:
        """The camera has rolled by an angle (radians) since the last frame, see tracking.roll.

        The rotations turn with it, and the box as the object's outline does. Places do not: where
        the camera has turned to is not known before there are boxes. Velocities, which are about
        the camera's axes, stay as they are: they would change by a few hundredths.
        """
        self.roll_estimate(angle)
        if self.trusted is not None:
            self.trusted = replace(self.trusted, T=rolled(self.trusted.T, angle))
        if self.rival is not None:
            self.rival.T = rolled(self.rival.T, angle)

    def roll_estimate(self, angle: float) -> None:
        """The same for the present pose and its box alone."""
        if self.estimate is None or angle == 0.0:
            return
        before = self.estimate.T_cam_obj
        after = rolled(before, angle)
        size, camera = self.estimate.size, self.camera
        self.box = carry_box(self.box, before, after, size, camera, camera)
        self.estimate = replace(self.estimate, T_cam_obj=after)

    def steadied(self, estimate: Estimate, stamp_ns: int, config: TrackerConfig) -> Estimate:
        """The estimate of a frame, its rotation averaged with the predicted one."""
        T = estimate.T_cam_obj.copy()
        ahead = swung(self.pose_at(stamp_ns, config), T[:3, 3])
        turning = self.motion.turning
        if not turning:
            ahead = self.steadier.led(ahead, (stamp_ns - self.stamp_ns) * 1e-9)
        since = self.stamp_ns if self.trusted is None else self.trusted.stamp_ns
        dt = (stamp_ns - since) * 1e-9
        T[:3, :3] = self.steadier.steady(T[:3, :3], ahead, self.doubt(estimate), dt, turning)
        return replace(estimate, T_cam_obj=T)

    def doubt(self, estimate: Estimate) -> float:
        """The variance of its rotation, rad squared, all axes that can be told together."""
        C = estimate.covariance[3:, 3:]
        axis = estimate.T_cam_obj[:3, 2]
        return float(np.trace(C) - (axis @ C @ axis if self.symmetry.order == 0 else 0.0))

    def remember(self, supported: bool, stamp_ns: int, T: Floats, box: Box, camera: Camera) -> None:
        """Keep where it was, for boxes that come late."""
        while self.history and self.history[-1].stamp_ns >= stamp_ns:
            self.history.pop()
        self.history.append(Past(stamp_ns, T, box, camera, supported))

    def past(self, stamp_ns: int) -> Past | None:
        """Where it was in the frame of a stamp, if that is remembered."""
        return next((p for p in reversed(self.history) if p.stamp_ns == stamp_ns), None)


@dataclass
class Task:
    """An object and where it is to be looked at: a box of the detector, or the predicted one.

    seen: what the network made of it. turn: it has a global search anyway, see effort.py.
    """

    memory: Memory
    detection: Detection | None
    box: Box
    seen: Any = None
    turn: bool = False


def _sides(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
