# SPDX-License-Identifier: Apache-2.0
"""What passes between a rival's network and the estimator around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Looked:
    """One crop and all that may be known of it.

    Attributes:
        tensor: (1, 3, H, W) float32 in [0, 255].
        K: (3, 3) of the crop, pixels.
        box: (4,) the detector's box in the crop's pixels.
        reliable: whether each of its sides is one.
        outline: (P, 3) points of the category whose projection a box encloses, object units.
        given_t: (3,) the object's place in the crop's camera where it is told, else None.
    """

    tensor: Tensor
    K: Array
    box: Array
    reliable: tuple[bool, bool, bool, bool]
    outline: Array
    given_t: Array | None


@dataclass(frozen=True)
class Found:
    """R (3, 3) and t (3,), object to crop camera, object units; t None: the box tells.

    right, precise: in [0, 1], for errors below 30 and 10 degrees; not calibrated.
    """

    R: Array
    t: Array | None
    right: float
    precise: float


class Network(Protocol):
    """What a rival's module can do besides being a torch module with a `trunk`."""

    def loss(
        self, output: Any, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def look(self, looked: Looked) -> Found: ...
