# SPDX-License-Identifier: Apache-2.0
"""Images and boxes of one stamp brought together.

Boxes carry the stamp of the image that they were found in, so the join is exact; the nearest stamp
within a tolerance is taken only when asked for. Both buffers are bounded; a pair makes everything
older obsolete. Pure Python, one thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Pair(Generic[A, B]):
    """An image and its boxes. stamp_ns is the image's; boxes_stamp_ns may differ by tolerance."""

    stamp_ns: int
    boxes_stamp_ns: int
    image: A
    boxes: B


@dataclass
class Dropped:
    """What left the buffers unmatched: too old for the capacity, passed by a newer pair, twins."""

    images: int = 0
    boxes: int = 0


@dataclass
class Joiner(Generic[A, B]):
    """capacity: entries kept per side. tolerance_ns: largest difference of stamps; 0: exact."""

    capacity: int = 10
    tolerance_ns: int = 0
    dropped: Dropped = field(default_factory=Dropped)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"joiner: capacity is {self.capacity}, it must be at least 1")
        if self.tolerance_ns < 0:
            raise ValueError("joiner: tolerance_ns must not be negative")
        self._images: OrderedDict[int, A] = OrderedDict()
        self._boxes: OrderedDict[int, B] = OrderedDict()

    def add_image(self, stamp_ns: int, image: A) -> Pair[A, B] | None:
        """Returns the pair that this image completes, or None and keeps it."""
        match = self._nearest(self._boxes, stamp_ns)
        if match is None:
            self.dropped.images += self._keep(self._images, stamp_ns, image)
            return None
        pair = Pair(stamp_ns, match, image, self._boxes.pop(match))
        self._pass(pair)
        return pair

    def add_boxes(self, stamp_ns: int, boxes: B) -> Pair[A, B] | None:
        """Returns the pair that these boxes complete, or None and keeps them."""
        match = self._nearest(self._images, stamp_ns)
        if match is None:
            self.dropped.boxes += self._keep(self._boxes, stamp_ns, boxes)
            return None
        pair = Pair(match, stamp_ns, self._images.pop(match), boxes)
        self._pass(pair)
        return pair

    def clear(self) -> None:
        """Forget what is kept (the clock jumped back). Counts stay."""
        self._images.clear()
        self._boxes.clear()

    def __len__(self) -> int:
        return len(self._images) + len(self._boxes)

    def _nearest(self, kept: OrderedDict[int, A] | OrderedDict[int, B], stamp: int) -> int | None:
        if stamp in kept:
            return stamp
        if self.tolerance_ns == 0 or not kept:
            return None
        best = min(kept, key=lambda other: (abs(other - stamp), other))
        return best if abs(best - stamp) <= self.tolerance_ns else None

    def _keep(self, kept: OrderedDict, stamp: int, item: object) -> int:
        """Add; returns how many were lost by it: an entry of the same stamp, or the oldest."""
        lost = 1 if kept.pop(stamp, None) is not None else 0
        kept[stamp] = item
        while len(kept) > self.capacity:
            kept.popitem(last=False)  # in order of arrival: survives a clock that jumped back
            lost += 1
        return lost

    def _pass(self, pair: Pair[A, B]) -> None:
        for stamp in [s for s in self._images if s < pair.stamp_ns]:
            del self._images[stamp]
            self.dropped.images += 1
        for stamp in [s for s in self._boxes if s < pair.boxes_stamp_ns]:
            del self._boxes[stamp]
            self.dropped.boxes += 1
