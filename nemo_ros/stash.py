# SPDX-License-Identifier: Apache-2.0
"""Boxes that wait for the next image to be worked on, when images are answered at once.

Whoever works on an image takes what has come so far: the boxes of that image, if the detector was
quick, and those of earlier ones. Bounded; may be filled and emptied by different threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Taken(Generic[T]):
    """own: the image's boxes, or None; late: (stamp in ns, boxes) of earlier images, in order."""

    own: T | None
    late: tuple[tuple[int, T], ...]


class Stash(Generic[T]):
    """capacity: messages kept; the oldest are lost first, and counted in `dropped`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._kept: OrderedDict[int, T] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, stamp_ns: int, boxes: T) -> None:
        """Keep boxes until an image of their stamp or a later one is worked on."""
        with self._lock:
            self.dropped += self._kept.pop(stamp_ns, None) is not None
            self._kept[stamp_ns] = boxes
            while len(self._kept) > self.capacity:
                self._kept.popitem(last=False)
                self.dropped += 1

    def take(self, stamp_ns: int, tolerance_ns: int = 0) -> Taken[T]:
        """Take all boxes up to an image's stamp; those within the tolerance are its own."""
        with self._lock:
            near = [s for s in self._kept if abs(s - stamp_ns) <= tolerance_ns]
            mine = min(near, key=lambda s: (abs(s - stamp_ns), s), default=None)
            own = None if mine is None else self._kept.pop(mine)
            late = sorted(s for s in self._kept if s < stamp_ns)
            return Taken(own, tuple((s, self._kept.pop(s)) for s in late))

    def clear(self) -> None:
        """Forget what is kept (the clock jumped back)."""
        with self._lock:
            self._kept.clear()
