# SPDX-License-Identifier: Apache-2.0
"""Does the node keep up? 720p at 10 Hz with three objects, live against replay, in one run.

The launched node gets raw 1280x720 images over DDS; the very same messages then go through the
pipeline in this process. Prints medians, their ratio (live : replay), whether latency grows (last
round : first round of the same pictures) and how many frames were answered. Pictures come from
demo/recording, enlarged; the third object is a second box on the first car.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.tracker import Tracker
from nemo_ros import conversion
from nemo_ros.bags import Bag
from nemo_ros.launching import dds_environment, launched
from nemo_ros.messages import RclpyMessages
from nemo_ros.pipeline import Pipeline, load_estimators, warm_up

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WIDTH, HEIGHT = 1280, 720
RECORDING = {
    "image": "/camera/image/compressed",
    "info": "/camera/camera_info",
    "boxes": "/detections",
}
STEP_NS = 100_000_000
ROUND = 60
"""Different pictures, shown again and again."""


@dataclass(frozen=True)
class Scene:
    """One 720p picture (HEIGHT, WIDTH, 3) RGB, its camera and its boxes."""

    image: np.ndarray
    camera: Camera
    boxes: tuple[Detection, ...]


def scenes(recording: Path, count: int) -> list[Scene]:
    """The recording's first frames, enlarged to 720p, each with three boxes."""
    bag = Bag(recording)
    by_stamp: dict[int, dict[str, Any]] = {}
    names = {topic: kind for kind, topic in RECORDING.items()}
    for raw in bag.messages({topic: rank for rank, topic in enumerate(RECORDING.values())}):
        message = bag.decode(raw)
        by_stamp.setdefault(conversion.stamp_ns(message), {})[names[raw.topic]] = message
    found = []
    for stamp in sorted(by_stamp):
        parts = by_stamp[stamp]
        if len(parts) == len(RECORDING):
            found.append(_scene(parts["image"], parts["info"], parts["boxes"]))
        if len(found) == count:
            break
    return found


def _scene(image: Any, info: Any, boxes: Any) -> Scene:
    picture = conversion.image_from(image)
    camera, _ = conversion.camera_from(info, rectified=True)
    sx, sy = WIDTH / camera.width, HEIGHT / camera.height
    K = np.diag([sx, sy, 1.0]) @ camera.K
    scaled = []
    for box in conversion.detections_from(boxes, {}, True):
        x1, y1, x2, y2 = box.box
        scaled.append(
            Detection((x1 * sx, y1 * sy, x2 * sx, y2 * sy), box.category, 1.0, box.track_id)
        )
    first = scaled[0]
    while len(scaled) < 3:
        scaled.append(Detection(first.box, first.category, 1.0, f"again-{len(scaled)}"))
    large = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return Scene(np.asarray(large, dtype=np.uint8), Camera(K, WIDTH, HEIGHT), tuple(scaled[:3]))


class Talker:
    """Publishes scenes to the node and notes when each stamp was sent and answered."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        self.messages = RclpyMessages()
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node("benchmark", context=self.context)
        make, best = (
            self.messages.type,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        )
        create = self.node.create_publisher
        self.image = create(make("sensor_msgs/msg/Image"), "/camera/image_rect", best)
        self.info = create(make("sensor_msgs/msg/CameraInfo"), "/camera/camera_info", 5)
        self.boxes = create(make("vision_msgs/msg/Detection2DArray"), "/detections", 5)
        poses = make("vision_msgs/msg/Detection3DArray")
        self.node.create_subscription(poses, "/nemo/poses", self._answered, 50)
        self.sent: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        threading.Thread(target=self._spin, args=(executor.spin,), daemon=True).start()

    @staticmethod
    def _spin(spin: Callable[[], None]) -> None:
        from rclpy.executors import ExternalShutdownException

        try:
            spin()
        except ExternalShutdownException:
            return

    def _answered(self, message: Any) -> None:
        self.answered[conversion.stamp_ns(message)] = time.perf_counter()

    def send(self, stamp: int, scene: Scene) -> None:
        header = conversion.header(self.messages, stamp, "camera_optical_frame")
        info = conversion.camera_message(self.messages, header, scene.camera)
        boxes = conversion.boxes_message(self.messages, header, scene.boxes)
        image = conversion.image_message(self.messages, header, scene.image)
        self.info.publish(info)
        self.sent[stamp] = time.perf_counter()
        self.image.publish(image)
        self.boxes.publish(boxes)


def live(frames: list[Scene], count: int, model: Path, hertz: float) -> tuple[np.ndarray, int]:
    """Latencies in ms of the answered frames, in order, and how many were sent."""
    talker = Talker()
    first = time.time_ns()
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"model": str(model)}
        with launched("pose.launch.py", arguments, log_dir=Path(folder)) as launch:
            deadline = time.monotonic() + 120.0
            stamp = first
            while not talker.answered:  # until it is up and compiled
                launch.check()
                if time.monotonic() > deadline:
                    raise SystemExit("the node did not answer within 120 s\n" + launch.output())
                stamp += STEP_NS
                talker.send(stamp, frames[0])
                time.sleep(0.5)
            measured = [stamp + (i + 1) * STEP_NS for i in range(count)]
            begin = time.perf_counter()
            for i, at in enumerate(measured):
                time.sleep(max(0.0, begin + i / hertz - time.perf_counter()))
                talker.send(at, frames[i % len(frames)])
            time.sleep(1.0)
    talker.context.try_shutdown()
    latency = [
        1e3 * (talker.answered[s] - talker.sent[s]) for s in measured if s in talker.answered
    ]
    return np.array(latency), count


def replayed(frames: list[Scene], count: int, model: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Milliseconds per frame of the same messages in this process, and medians per stage."""
    estimators = load_estimators(str(model))
    warm_up(estimators)
    pipeline, messages = Pipeline(Tracker(estimators)), RclpyMessages()
    times, stages = [], []
    for i in range(count):
        scene, stamp = frames[i % len(frames)], (i + 1) * STEP_NS
        header = conversion.header(messages, stamp, "camera_optical_frame")
        pipeline.calibrate(conversion.camera_message(messages, header, scene.camera), True)
        image = conversion.image_message(messages, header, scene.image)
        boxes = conversion.boxes_message(messages, header, scene.boxes)
        start = time.perf_counter()
        outcome = pipeline.step(image, boxes)
        times.append(1e3 * (time.perf_counter() - start))
        stages += [
            track.estimate.milliseconds
            for track in outcome.result.tracks
            if track.estimate.mode == "warm"
        ]
    names = stages[0] if stages else {}
    return np.array(times), {n: float(np.median([s[n] for s in stages])) for n in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car")
    parser.add_argument("--recording", type=Path, default=ROOT / "demo" / "recording")
    parser.add_argument("--frames", type=int, default=4 * ROUND)
    parser.add_argument("--hertz", type=float, default=10.0)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "node.json")
    args = parser.parse_args()
    os.environ.update(dds_environment())
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    frames = scenes(args.recording, ROUND)
    latency, sent = live(frames, args.frames, args.model, args.hertz)
    offline, stages = replayed(frames, args.frames, args.model)
    result = {
        "frames_sent": sent,
        "frames_answered": len(latency),
        "hertz": args.hertz,
        "objects": 3,
        "live_ms": {f"p{p}": round(float(np.percentile(latency, p)), 2) for p in (50, 95, 99)},
        "replay_ms": {f"p{p}": round(float(np.percentile(offline, p)), 2) for p in (50, 95, 99)},
        "live_to_replay": round(float(np.median(latency) / np.median(offline)), 2),
        "latency_growth": round(float(np.median(latency[-ROUND:]) / np.median(latency[:ROUND])), 2),
        "warm_stages_ms": {name: round(value, 3) for name, value in stages.items()},
        "solver_to_backbone": round(stages["solve"] / stages["features"], 3) if stages else None,
        "cpus": os.cpu_count(),
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    for name, value in result.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
