# SPDX-License-Identifier: Apache-2.0
"""What the node's executor hands to its worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nemo_ros import parameters


@dataclass(frozen=True)
class Arrived:
    """An image message and when it came, seconds of time.monotonic."""

    message: Any
    at: float


@dataclass(frozen=True)
class Job:
    """Everything the worker needs for one frame. boxes None: taken from the stash when it runs."""

    image: Arrived
    boxes: Any | None
    camera_info: Any | None
    settings: parameters.Settings
    reset: bool  # the clock jumped back since the last job
