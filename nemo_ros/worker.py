# SPDX-License-Identifier: Apache-2.0
"""One thread that does the work, fed through a slot that holds one item.

A newer item replaces one that still waits: latency stays bounded however slow the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Calls ``work(item)`` in its own thread. What it raises goes to ``failed``; it lives on."""

    def __init__(self, work: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        self._work, self._failed = work, failed
        self._condition = threading.Condition()
        self._slot: T | None = None
        self._stopping = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="pose_worker", daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """Hand over an item; False when another one waited and was replaced (a drop)."""
        with self._condition:
            replaced = self._slot is not None
            self._slot = item
            self._condition.notify_all()
            return not replaced

    def drain(self, timeout: float) -> bool:
        """Wait until nothing waits or runs; False when that took longer than timeout seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self._slot is None and not self._busy, timeout)

    def stop(self, timeout: float = 5.0) -> None:
        """Let the running item end, forget a waiting one, and join the thread."""
        with self._condition:
            self._stopping = True
            self._slot = None
            self._condition.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._slot is not None)
                if self._stopping:
                    return
                item, self._slot = self._slot, None
                self._busy = True
            try:
                assert item is not None
                self._work(item)
            except Exception as error:  # the thread must survive whatever a frame does to it
                self._failed(error)
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()
