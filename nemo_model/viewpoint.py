# SPDX-License-Identifier: Apache-2.0
"""The viewpoint prior at run time: how likely the picture as a whole makes each rotation.

The backbone gives one context vector per crop; a category's reader turns it into the log
probabilities of azimuth, elevation and in-plane rotation (bins of 5 degrees), which are taken for
independent. The solver adds them to the objective, on the grid of starts and in every climb
(lean.py); blurred as they are, they say more of the mode than of the pose within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from nemo_model.angles import ANGLES, AZIMUTH, SIGMA
from nemo_model.lean import log_probabilities

__all__ = ["ANGLES", "BINS", "SIGMA", "Reader", "Viewpoint", "read_reader", "reader_arrays"]

Array = npt.NDArray[np.float64]

BINS = sum(bins.count for bins in ANGLES)
"""Log probabilities of one crop: of the three angles, one after the other."""
BIN_DEG = 5.0
SPREAD_DEG = 10.0
"""By how much (standard deviation) the probabilities are blurred: within a mode, where the features
know better, they are to be about even."""
FLOOR = 0.1
"""Share of each angle's probability that is spread evenly: a network is surer than it is right."""


@dataclass(frozen=True)
class Viewpoint:
    """What one crop says of its object's rotation.

    log: (BINS,) of each angle log(probability x bins), 0 where it is even.
    """

    log: Array

    @property
    def peak(self) -> float:
        """The log probability, relative to even, of the likeliest rotation."""
        parts = np.split(self.log, np.cumsum([bins.count for bins in ANGLES])[:-1])
        return float(sum(part.max() for part in parts))

    def __call__(self, rotations: npt.ArrayLike) -> Array:
        """log (n,) of how much likelier than even rotations (n, 3, 3) are, crop camera.

        Between the bins' centres it is interpolated.
        """
        return log_probabilities(self.log, rotations)


def _spread(p: Array, circular: bool) -> Array:
    """Probabilities (n,) of bins, blurred by SPREAD_DEG."""
    return np.asarray(
        gaussian_filter1d(p, SPREAD_DEG / BIN_DEG, mode="wrap" if circular else "reflect")
    )


def _every() -> npt.NDArray[np.bool_]:
    return np.ones(AZIMUTH.count, dtype=np.bool_)


@dataclass(frozen=True)
class Reader:
    """A category's reading of the context.

    Attributes:
        weight: (BINS, D) float32.
        bias: (BINS,) float32.
        shown: (bins of azimuth,) those from which training showed the category. Of the others a
            classifier knows nothing: they are as likely as the likeliest, and the features decide.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    shown: npt.NDArray[np.bool_] = field(default_factory=_every)

    def __call__(self, context: npt.NDArray[np.float32]) -> Viewpoint:
        """The viewpoint prior of a crop with this context (D,); even for one that is not finite."""
        logits = (self.weight @ context + self.bias).astype(np.float64)
        if not np.isfinite(logits).all():  # a broken backbone's, whose features say nothing either
            return Viewpoint(np.zeros(BINS))
        parts = np.split(logits, np.cumsum([bins.count for bins in ANGLES])[:-1])
        log = []
        for values, bins in zip(parts, ANGLES, strict=True):
            p = np.exp(values - values.max())
            p = _spread(p / p.sum(), bins.circular)
            log.append(np.log((1.0 - FLOOR) * p * bins.count + FLOOR))
        log[0] = np.where(self.shown, log[0], log[0].max(where=self.shown, initial=-np.inf))
        return Viewpoint(np.concatenate(log))


def reader_arrays(reader: Reader | None) -> dict[str, Any]:
    """What neural_mesh.npz holds of a reader; nothing where there is none."""
    if reader is None:
        return {}
    arrays = {"viewpoint_weight": reader.weight, "viewpoint_bias": reader.bias}
    return arrays if reader.shown.all() else arrays | {"viewpoint_shown": reader.shown}


def read_reader(data: Mapping[str, Any]) -> Reader | None:
    """The reader of a neural_mesh.npz; None where it holds none.

    Raises:
        KeyError, ValueError: for what is missing or wrong.
    """
    if "viewpoint_weight" not in data:
        return None
    weight = np.ascontiguousarray(data["viewpoint_weight"], dtype=np.float32)
    bias = np.ascontiguousarray(data["viewpoint_bias"], dtype=np.float32)
    if weight.ndim != 2 or len(weight) != BINS or bias.shape != (BINS,):
        raise ValueError(
            f"viewpoint_weight is {weight.shape} and viewpoint_bias {bias.shape}; need "
            f"({BINS}, D) and ({BINS},)"
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("viewpoint_weight or viewpoint_bias holds NaN or infinite values")
    if "viewpoint_shown" not in data:
        return Reader(weight, bias)
    shown = np.asarray(data["viewpoint_shown"])
    if shown.shape != (AZIMUTH.count,) or shown.dtype != np.bool_ or not shown.any():
        raise ValueError(f"viewpoint_shown must be {AZIMUTH.count} truth values, one of them true")
    return Reader(weight, bias, shown)
