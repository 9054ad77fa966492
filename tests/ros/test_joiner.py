# SPDX-License-Identifier: Apache-2.0
"""The joiner's promises, for every order of arrival."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_ros.joiner import Joiner, Pair

STAMPS = st.integers(min_value=0, max_value=30)
EVENTS = st.lists(st.tuples(st.sampled_from(["image", "boxes"]), STAMPS), max_size=60)


def run(joiner: Joiner[int, int], events: list[tuple[str, int]]) -> list[Pair[int, int]]:
    """Feed events; the item of an event is its index."""
    pairs = []
    for index, (side, stamp) in enumerate(events):
        add = joiner.add_image if side == "image" else joiner.add_boxes
        pair = add(stamp, index)
        if pair is not None:
            pairs.append(pair)
    return pairs


@given(EVENTS, st.integers(1, 8), st.integers(0, 5))
def test_pairs_are_right_and_nothing_is_lost(
    events: list[tuple[str, int]], capacity: int, tolerance: int
) -> None:
    joiner: Joiner[int, int] = Joiner(capacity, tolerance)
    pairs = run(joiner, events)
    for pair in pairs:
        assert events[pair.image] == ("image", pair.stamp_ns)
        assert events[pair.boxes] == ("boxes", pair.boxes_stamp_ns)
        assert abs(pair.stamp_ns - pair.boxes_stamp_ns) <= tolerance
    used = [pair.image for pair in pairs] + [pair.boxes for pair in pairs]
    assert len(used) == len(set(used)), "a message is used once"
    # every message is in a pair, still kept, or counted as dropped
    dropped = joiner.dropped.images + joiner.dropped.boxes
    assert len(used) + len(joiner) + dropped == len(events)
    assert len(joiner) <= 2 * capacity


@given(st.lists(STAMPS, unique=True, min_size=1, max_size=20), st.randoms())
def test_in_order_streams_meet_completely(stamps: list[int], random: object) -> None:
    """However late the boxes are within the capacity, every frame gets its own."""
    stamps = sorted(stamps)
    lag = random.randint(0, 5)  # type: ignore[attr-defined]
    joiner: Joiner[int, int] = Joiner(capacity=6)
    events = []
    for index in range(len(stamps) + lag):
        if index < len(stamps):
            events.append(("image", stamps[index]))
        if index >= lag:
            events.append(("boxes", stamps[index - lag]))
    pairs = run(joiner, events)
    assert [pair.stamp_ns for pair in pairs] == stamps
    assert all(pair.stamp_ns == pair.boxes_stamp_ns for pair in pairs)
    assert len(joiner) == 0


def test_exact_partner_beats_a_near_one() -> None:
    joiner: Joiner[str, str] = Joiner(tolerance_ns=10)
    assert joiner.add_boxes(96, "near") is None
    assert joiner.add_boxes(100, "exact") is None
    pair = joiner.add_image(100, "image")
    assert pair == Pair(100, 100, "image", "exact")
    assert joiner.dropped.boxes == 1


def test_nearest_only_when_asked() -> None:
    assert Joiner[str, str]().add_image(1, "a") is None
    exact: Joiner[str, str] = Joiner()
    exact.add_image(1, "a")
    assert exact.add_boxes(2, "b") is None
    near: Joiner[str, str] = Joiner(tolerance_ns=1)
    near.add_image(1, "a")
    assert near.add_boxes(2, "b") == Pair(1, 2, "a", "b")


def test_clock_that_jumped_back() -> None:
    """Kept entries of the future do not block the present, and leave when room is needed."""
    joiner: Joiner[str, str] = Joiner(capacity=2)
    joiner.add_image(1000, "old")
    joiner.add_image(1001, "old")
    for stamp in (1, 2):
        assert joiner.add_image(stamp, "new") is None
        assert joiner.add_boxes(stamp, "new") is not None
    assert joiner.dropped.images == 1, "the oldest arrival made room"


@pytest.mark.parametrize(("capacity", "tolerance"), [(0, 0), (1, -1)])
def test_nonsense_is_refused(capacity: int, tolerance: int) -> None:
    with pytest.raises(ValueError, match="joiner"):
        Joiner(capacity, tolerance)
