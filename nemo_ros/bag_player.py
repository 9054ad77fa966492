# SPDX-License-Identifier: Apache-2.0
"""Play a bag over DDS at its own pace and collect what the live node answers.

A camera driver and a detector in one process: the bag's CDR bytes are published as they are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy

from nemo_model.errors import NemoError
from nemo_ros import conversion
from nemo_ros.bags import Bag, Raw
from nemo_ros.bagtypes import DETECTIONS_3D, IMAGE
from nemo_ros.conversion import ObjectPose
from nemo_ros.messages import RclpyMessages
from nemo_ros.replay import Topics

Image = NDArray[np.uint8]

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
SETTLE_S = 0.7
"""A match is seen on one side a moment before the other side is ready as well."""


class NodeSilent(NemoError):
    """The node did not come up."""


@dataclass(frozen=True)
class LiveAnswer:
    """What the node published for one frame, and how long after its image was sent."""

    stamp_ns: int
    objects: tuple[ObjectPose, ...]
    latency_ms: float


class BagPlayer:
    """Use as a context manager.

    Args:
        bag, topics: what is played.
        namespace: of the node; it answers on /NAMESPACE/poses and /NAMESPACE/overlay.
    """

    def __init__(self, bag: Bag, topics: Topics, namespace: str = "nemo") -> None:
        self._bag, self._topics = bag, topics
        self.answers: dict[int, LiveAnswer] = {}
        self.overlays: dict[int, bytes] = {}  # JPEG by stamp
        self._sent: dict[int, float] = {}  # stamp -> time.monotonic of its image
        self._poses_topic = f"/{namespace}/poses"
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node("bag_player", context=self._context)
        make = RclpyMessages().type
        self._publishers = {
            name: self._node.create_publisher(make(bag.topics[name].msgtype), name, SENSOR)
            for name in (topics.camera_info, topics.detections, topics.image)
        }
        self._node.create_subscription(
            make(DETECTIONS_3D), self._poses_topic, self._on_poses, RELIABLE
        )
        self._node.create_subscription(
            make(IMAGE), f"/{namespace}/overlay", self._on_overlay, RELIABLE
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def wait_for_node(self, patience_s: float, alive: Callable[[], None]) -> None:
        """Wait until every input has a listener and the poses a publisher.

        Args:
            patience_s: the first start compiles the solver, which takes a while.
            alive: raises when waiting longer makes no sense.

        Raises:
            NodeSilent: when it takes longer.
        """
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            alive()
            heard = all(p.get_subscription_count() for p in self._publishers.values())
            if heard and self._node.count_publishers(self._poses_topic):
                time.sleep(SETTLE_S)
                return
            time.sleep(0.1)
        raise NodeSilent(f"the node did not listen within {patience_s:.0f} s")

    def play(self, rate: float = 1.0) -> Iterator[int]:
        """Publish the bag; yield each stamp right after its image.

        Args:
            rate: 1 is the pace of the recording, 0.5 half of it.
        """
        ranks = {self._topics.camera_info: 0, self._topics.detections: 1, self._topics.image: 2}
        begin = first = None
        for log_ns, group in groupby(self._bag.messages(ranks), key=lambda raw: raw.log_ns):
            if begin is None or first is None:
                begin, first = time.monotonic(), log_ns
            wait = begin + (log_ns - first) * 1e-9 / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            for raw in group:
                stamp = self._publish(raw)
                if raw.topic == self._topics.image:
                    yield stamp

    def wait_for_answers(self, patience_s: float) -> None:
        """Wait until the last frame is answered, or nothing has come for so long."""
        last = max(self._sent, default=0)
        known, deadline = len(self.answers), time.monotonic() + patience_s
        while last not in self.answers and time.monotonic() < deadline:
            time.sleep(0.05)
            if len(self.answers) > known:
                known, deadline = len(self.answers), time.monotonic() + patience_s
        time.sleep(0.3)  # the overlay comes after the poses

    def _publish(self, raw: Raw) -> int:
        stamp = 0
        if raw.topic == self._topics.image:
            stamp = conversion.stamp_ns(self._bag.decode(raw))
            self._sent[stamp] = time.monotonic()
        self._publishers[raw.topic].publish(raw.data)
        return stamp

    def _on_poses(self, message: Any) -> None:
        now = time.monotonic()
        stamp = conversion.stamp_ns(message)
        if stamp in self._sent:
            objects = conversion.object_poses_from(message)
            latency_ms = 1e3 * (now - self._sent[stamp])
            self.answers[stamp] = LiveAnswer(stamp, objects, latency_ms)

    def _on_overlay(self, message: Any) -> None:
        rgb = conversion.image_from(message)
        self.overlays[conversion.stamp_ns(message)] = cv2.imencode(
            ".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]
        )[1].tobytes()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=2.0)
        self._node.destroy_node()
        self._context.try_shutdown()
        self._thread.join(5.0)

    def __enter__(self) -> BagPlayer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
