# SPDX-License-Identifier: Apache-2.0
"""Viewpoint angles as classes: bins, soft labels, and back to an angle finer than a bin.

Pose by classification: Tulsiani and Malik, Viewpoints and Keypoints, CVPR 2015; Zhou et al.,
StarMap, ECCV 2018, compare with it under that name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
WINDOW = 2
"""Bins on either side of the mode that the angle is the mean of."""


@dataclass(frozen=True)
class Bins:
    """Equal classes of an angle, radians.

    Attributes:
        count: how many.
        lo, span: bin k is centred on lo + (k + 1/2) span / count.
        circular: whether the last bin is the first one's neighbour.
    """

    count: int
    lo: float
    span: float
    circular: bool

    @property
    def width(self) -> float:
        return self.span / self.count

    @property
    def centres(self) -> Array:
        """(count,) radians."""
        return np.asarray(self.lo + (np.arange(self.count) + 0.5) * self.width)

    def apart(self, angle: float) -> Array:
        """(count,) signed radians from an angle to every bin's centre, the short way round."""
        off = self.centres - angle
        if self.circular:
            off = (off + self.span / 2) % self.span - self.span / 2
        return np.asarray(off)

    def label(self, angle: float, sigma: float) -> npt.NDArray[np.float32]:
        """Soft label (count,), sum 1: a Gaussian around the angle, `sigma` in radians."""
        log = -0.5 * (self.apart(angle) / sigma) ** 2
        weight = np.exp(log - log.max())
        return np.asarray(weight / weight.sum(), dtype=np.float32)

    def angle(self, probability: npt.ArrayLike) -> float:
        """The mean angle of the bins within WINDOW of the mode, weighed by probability (count,).

        The mode is where those bins together are likeliest. A circular one is in [lo, lo + span).
        """
        p = np.asarray(probability, dtype=np.float64)
        mode = int(np.argmax(self._mass(p, WINDOW)))
        at = self._around(mode, WINDOW)
        inside = at if self.circular else at[(at >= 0) & (at < self.count)]
        weight = p[inside % self.count]
        steps = inside - mode
        middle = float(steps @ weight / weight.sum()) if weight.sum() > 0 else 0.0
        found = self.centres[mode] + middle * self.width
        return float((found - self.lo) % self.span + self.lo) if self.circular else float(found)

    def mass(self, probability: npt.ArrayLike, reach: float) -> float:
        """The probability within `reach` (radians) of the mode."""
        p = np.asarray(probability, dtype=np.float64)
        return float(p[np.abs(self.apart(self.angle(p))) <= reach + self.width / 2].sum())

    def _mass(self, p: Array, window: int) -> Array:
        if self.circular:
            return np.asarray(sum(np.roll(p, k) for k in range(-window, window + 1)))
        return np.convolve(p, np.ones(2 * window + 1), mode="same")

    @staticmethod
    def _around(mode: int, window: int) -> npt.NDArray[np.int64]:
        return np.arange(mode - window, mode + window + 1)


AZIMUTH = Bins(72, 0.0, 2 * np.pi, True)
ELEVATION = Bins(36, -np.pi / 2, np.pi, False)
THETA = Bins(72, -np.pi, 2 * np.pi, True)
ANGLES = (AZIMUTH, ELEVATION, THETA)
"""As angles_from_rotation gives them: azimuth, elevation, in-plane rotation; 5 degrees each."""
SIGMA = np.deg2rad(5.0)
"""Deviation of the soft labels: about that of the annotations."""
