# SPDX-License-Identifier: Apache-2.0
"""The slot holds one item: the newest; the thread survives."""

from __future__ import annotations

import threading
import time

from nemo_ros.worker import Worker


def test_newest_waits_and_older_ones_are_dropped() -> None:
    gate, done, started = threading.Event(), [], threading.Event()

    def work(item: int) -> None:
        started.set()
        gate.wait(5.0)
        done.append(item)

    worker = Worker(work, lambda error: None)
    assert worker.put(0)
    assert started.wait(5.0)
    assert worker.put(1), "the slot was free"
    assert not worker.put(2), "1 was replaced"
    assert not worker.put(3)
    assert not worker.drain(0.05)
    gate.set()
    assert worker.drain(5.0)
    assert done == [0, 3]
    worker.stop()


def test_an_exception_is_handed_on_and_survived() -> None:
    errors: list[Exception] = []
    done: list[int] = []

    def work(item: int) -> None:
        if item < 0:
            raise RuntimeError(f"bad {item}")
        done.append(item)

    worker = Worker(work, errors.append)
    worker.put(-1)
    assert worker.drain(5.0)
    worker.put(1)
    assert worker.drain(5.0)
    assert done == [1]
    assert [str(error) for error in errors] == ["bad -1"]
    worker.stop()


def test_stop_forgets_what_waits_and_ends_the_thread() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.1)
        done.append(item)

    worker = Worker(work, lambda error: None)
    worker.put(0)
    time.sleep(0.03)
    worker.put(1)
    worker.stop()
    assert done == [0]
    assert not any(t.name == "pose_worker" and t.is_alive() for t in threading.enumerate())
