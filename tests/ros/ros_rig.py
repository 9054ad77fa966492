# SPDX-License-Identifier: Apache-2.0
"""Everything around the node in a test: a camera, a detector, and listeners that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_ros import conversion
from nemo_ros.launching import Launched, launched
from nemo_ros.messages import RclpyMessages

T = TypeVar("T")
FRAME = "camera_optical"
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
START_S = 240.0  # a busy machine may have to compile the solver first
ACTIVE = "pose_node]: active"
PAUSE_NS = 3_000_000_000  # after such a pause every object is forgotten: nothing is bridged


@dataclass(frozen=True)
class Report:
    """One DiagnosticStatus: level 0 OK, 1 WARN, 2 ERROR."""

    name: str
    level: int
    message: str
    values: dict[str, str]


def camera(width: int = 640, height: int = 480, focal: float = 600.0) -> Camera:
    """A camera with its principal point near the centre."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    return Camera(np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]), width, height)


def picture(seed: int = 0, width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    """A textured image (height, width, 3); the same seed gives the same bytes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 20, width // 20, 3))
    return np.kron(coarse, np.ones((20, 20, 1))).astype(np.uint8)


def car(x1: float = 200, y1: float = 150, x2: float = 440, y2: float = 300) -> Detection:
    """A box of a car."""
    return Detection((x1, y1, x2, y2), "car", 0.9)


class Rig:
    """Publishes frames and collects what the node answers. One per test module."""

    def __init__(self) -> None:
        self.messages = RclpyMessages()
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node("rig", context=self.context)
        self.poses: list[Any] = []
        self.overlays: list[Any] = []
        self.reports: list[Report] = []
        self._changed = threading.Condition()
        make = self.messages.type
        self.image = self.node.create_publisher(
            make("sensor_msgs/msg/Image"), "/camera/image_rect", BEST_EFFORT
        )
        self.info = self.node.create_publisher(
            make("sensor_msgs/msg/CameraInfo"), "/camera/camera_info", 5
        )
        self.boxes = self.node.create_publisher(
            make("vision_msgs/msg/Detection2DArray"), "/detections", 5
        )
        self.node.create_subscription(
            make("vision_msgs/msg/Detection3DArray"), "/nemo/poses", self._on_poses, 100
        )
        self.node.create_subscription(
            make("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", self._on_report, 100
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._stamp = time.time_ns()

    def close(self) -> None:
        """End the thread and the context."""
        self._executor.shutdown(timeout_sec=2.0)
        self.node.destroy_node()
        self.context.try_shutdown()
        self._thread.join(5.0)

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    # -- listening ----------------------------------------------------------------------------

    def listen_to_overlay(self) -> None:
        """Subscribe to the overlay (the node only draws while somebody listens)."""
        self.node.create_subscription(
            self.messages.type("sensor_msgs/msg/Image"),
            "/nemo/overlay",
            lambda message: self._note(self.overlays, message),
            5,
        )

    def _on_poses(self, message: Any) -> None:
        self._note(self.poses, message)

    def _on_report(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            name = status.name.partition(": ")[2]
            report = Report(name, int.from_bytes(status.level, "little"), status.message, values)
            self._note(self.reports, report)

    def _note(self, target: list[T], item: T) -> None:
        with self._changed:
            target.append(item)
            self._changed.notify_all()

    def wait(self, found: Callable[[], T | None], timeout: float, what: str) -> T:
        """Wait until ``found`` returns something; an AssertionError names what was waited for."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                result = found()
                if result:
                    return result
                left = deadline - time.monotonic()
                assert left > 0, f"{what}: not within {timeout} s; {self.last()}"
                self._changed.wait(min(left, 0.1))

    def last(self) -> str:
        """The last statuses, for a failure's message."""
        pose = next((r.values for r in reversed(self.reports) if r.name == "pose"), {})
        counts = {k: v for k, v in pose.items() if "(ms)" not in k and "sha256" not in k}
        last = "; ".join(f"{r.name}={r.message}" for r in self.reports[-4:])
        return f"last reports: {last}; counts: {counts}"

    def wait_report(
        self, holds: Callable[[Report], bool], timeout: float, what: str, since: int = 0
    ) -> Report:
        """Wait for a status, among those after the first ``since``."""
        return self.wait(
            lambda: next((r for r in self.reports[since:] if holds(r)), None), timeout, what
        )

    def wait_poses(self, stamp: int, timeout: float = 10.0) -> Any:
        """The answer to the frame of this stamp."""
        return self.wait(
            lambda: next((m for m in self.poses if conversion.stamp_ns(m) == stamp), None),
            timeout,
            f"poses of frame {stamp}",
        )

    # -- the node -----------------------------------------------------------------------------

    @contextmanager
    def running(
        self, log_dir: Path, arguments: dict[str, str] | None = None, launcher: str = "auto"
    ) -> Iterator[Launched]:
        """Launch pose.launch.py and wait until it is active and every topic is connected."""
        with launched("pose.launch.py", arguments, log_dir=log_dir, launcher=launcher) as launch:
            try:
                self.wait_connected(launch)
                yield launch
            except AssertionError as error:
                tail = "\n".join(launch.output().splitlines()[-25:])
                raise AssertionError(f"{error}\n--- launch output ---\n{tail}") from error

    def wait_connected(self, launch: Launched, timeout: float = START_S) -> None:
        """Until the node is active and answers; then forget what was heard so far.

        DDS counts a killed node as present for a while, so only an answer proves a connection.
        """
        deadline = time.monotonic() + timeout
        while ACTIVE not in launch.output():
            launch.check()
            assert time.monotonic() < deadline, f"not active within {timeout} s; {self.last()}"
            time.sleep(0.1)
        probes: set[int] = set()
        while not any(conversion.stamp_ns(message) in probes for message in self.poses):
            launch.check()
            assert time.monotonic() < deadline, f"no answer within {timeout} s; {self.last()}"
            probes.add(self.send_frame()[0])
            time.sleep(0.2)
        time.sleep(0.5)  # answers to other probes, and what the executor still holds
        for heard in (self.poses, self.overlays, self.reports):
            heard.clear()

    # -- frames -------------------------------------------------------------------------------

    def next_stamp(self, step_ns: int = 100_000_000) -> int:
        """A stamp later than every one before."""
        self._stamp += step_ns
        return self._stamp

    def header(self, stamp: int) -> Any:
        return conversion.header(self.messages, stamp, FRAME)

    def send_info(self, stamp: int, of: Camera) -> Any:
        """Publish a CameraInfo; returns the message."""
        message = conversion.camera_message(self.messages, self.header(stamp), of)
        self.info.publish(message)
        return message

    def send_boxes(self, stamp: int, *detections: Detection) -> Any:
        """Publish a Detection2DArray; returns the message."""
        message = conversion.boxes_message(self.messages, self.header(stamp), detections)
        self.boxes.publish(message)
        return message

    def image_message(self, stamp: int, pixels: NDArray[np.uint8]) -> Any:
        return conversion.image_message(self.messages, self.header(stamp), pixels)

    def send_image(self, stamp: int, pixels: NDArray[np.uint8]) -> Any:
        """Publish an Image; returns the message."""
        message = self.image_message(stamp, pixels)
        self.image.publish(message)
        return message

    def send_frame(
        self, *detections: Detection, seed: int = 0, stamp: int | None = None
    ) -> tuple[int, Any, Any, Any]:
        """Publish camera_info, image and boxes of one stamp: (stamp, info, image, boxes)."""
        stamp = self.next_stamp() if stamp is None else stamp
        info = self.send_info(stamp, camera())
        image = self.send_image(stamp, picture(seed))
        boxes = self.send_boxes(stamp, *detections)
        return stamp, info, image, boxes
