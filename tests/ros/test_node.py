# SPDX-License-Identifier: Apache-2.0
"""Life, parameters and clock of the node, in this process and with a stand-in for the model.

What the node does with real messages, a real model and DDS is in test_launch and test_bad_input.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_rig import camera, car, picture

from nemo_model.boxes import Detection
from nemo_model.camera import Camera, crop_camera
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate
from nemo_ros import conversion, parameters
from nemo_ros.diagnostics import Status
from nemo_ros.messages import RclpyMessages
from nemo_ros.node import PoseNode


@dataclass
class StandIn:
    """Answers every box with a pose five metres ahead; remembers with which prior."""

    category: str = "car"
    delay_s: float = 0.0
    priors: list[Any] = field(default_factory=list)

    def estimate(self, image: Any, K: Any, box: Any, *, prior: Any = None) -> Estimate:
        return self.solve((image, K, box), prior=prior)

    def observe_many(self, image: Any, K: Any, boxes: Any) -> list[Any]:
        return [(image, K, box) for box in boxes]

    def solve(self, seen: Any, *, prior: Any = None, trust_box: bool = True) -> Estimate:
        time.sleep(self.delay_s)
        self.priors.append(prior)
        image, K, box = seen
        T = np.eye(4)
        T[2, 3] = 5.0
        crop = crop_camera(Camera(K, image.shape[1], image.shape[0]), box, 192, 128)
        return Estimate(
            T_cam_obj=T,
            covariance=np.eye(6) * 0.01,
            score=0.9,
            visible_fraction=1.0,
            occlusion=np.ones((16, 24), np.int8),
            energy=50.0,
            margin=10.0,
            size=np.array([1.8, 4.2, 1.5]),
            crop=crop,
            category=self.category,
            mode="cold" if prior is None else "warm",
            statistics={},
            milliseconds={"total": 1.0},
        )


@contextmanager
def made(
    stand_in: StandIn, autostart: bool = False, loader: Any = None, **values: Any
) -> Iterator[PoseNode]:
    """A spinning node with parameters; in a context of its own."""
    context = rclpy.Context()
    context.init()
    overrides = [Parameter(name.replace("__", "."), value=v) for name, v in values.items()]
    node = PoseNode(
        loader or (lambda *_: {stand_in.category: stand_in}),
        context=context,
        namespace="nemo",
        parameter_overrides=[Parameter("autostart", value=autostart), *overrides],
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(5.0)
        node._release()
        node.destroy_node()
        context.try_shutdown()


def until(holds: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def feed(node: PoseNode, stamp: int, cars: Sequence[Detection] = (car(),)) -> None:
    """One frame, handed to the callbacks as the executor does."""
    messages = RclpyMessages()
    header = conversion.header(messages, stamp, "camera")
    node._on_camera_info(conversion.camera_message(messages, header, camera()))
    node._on_image(conversion.image_message(messages, header, picture()))
    node._on_boxes(conversion.boxes_message(messages, header, list(cars)))


def status(node: PoseNode, name: str) -> Status:
    return next(s for s in node._health.report(node.state) if s.name == name)


SUCCESS = TransitionCallbackReturn.SUCCESS


def test_autostart_and_every_transition(ros_environment: dict[str, str]) -> None:
    stand_in = StandIn()
    with made(stand_in, autostart=True, tracker__cold_every=0) as node:
        until(lambda: node.state == "active")
        warm_up = len(stand_in.priors)
        feed(node, 1_000_000_000)
        until(lambda: node._health.counts().get("frames answered") == 1)
        assert node.trigger_deactivate() == SUCCESS
        assert node.state == "inactive"
        until(lambda: node.count_subscribers("/nemo/image") == 0)  # an idle node costs nothing
        assert node.trigger_activate() == SUCCESS
        feed(node, 2_000_000_000)
        until(lambda: node._health.counts()["frames answered"] == 2)
        assert stand_in.priors[warm_up:] == [None, None], "tracks do not outlive deactivation"
        feed(node, 2_100_000_000)
        until(lambda: node._health.counts()["frames answered"] == 3)
        assert stand_in.priors[-1] is not None, "the model is warm, and so is the track"
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert node.state == "unconfigured"
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        feed(node, 3_000_000_000)
        until(lambda: node._health.counts()["frames answered"] == 4)


def test_missing_model_is_told_and_can_be_tried_again(ros_environment: dict[str, str]) -> None:
    stand_in, there = StandIn(), []

    def loader(model: str, threads: int, providers: Any, boxes: str) -> dict[str, StandIn]:
        if not there:
            raise NemoError(f"{model}/card.json: no such file")
        return {"car": stand_in}

    with made(stand_in, autostart=True, loader=loader, model="/nowhere") as node:
        until(lambda: status(node, "pose").level == 2)
        assert "/nowhere/card.json: no such file" in status(node, "pose").message
        until(lambda: node.state == "unconfigured")  # the failed transition is over
        there.append(True)
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert status(node, "pose").level == 0


def test_waits_for_a_manager_without_autostart(ros_environment: dict[str, str]) -> None:
    with made(StandIn()) as node:
        time.sleep(0.3)
        assert node.state == "unconfigured"
        assert status(node, "pose").level == 1


def test_slow_model_drops_frames_and_never_lags(ros_environment: dict[str, str]) -> None:
    stand_in = StandIn(delay_s=0.2)
    with made(stand_in, autostart=True, tracker__cold_every=0) as node:
        until(lambda: node.state == "active")
        for index in range(1, 21):
            feed(node, index * 10_000_000)
            time.sleep(0.01)
        assert node._worker is not None
        assert node._worker.drain(5.0)
        counts = node._health.counts()
        assert counts["frames answered"] + counts["frames dropped (worker busy)"] == 20
        assert counts["frames dropped (worker busy)"] >= 10
        p99 = float(status(node, "pose").values["latency p99 (ms)"])
        assert p99 < 600.0, "at most one frame waits while another is worked on"


def test_refused_parameters_say_why(ros_environment: dict[str, str]) -> None:
    with made(StandIn()) as node:
        cases = {
            "class_map": (["car"], "detector_class=category"),
            "tracker.min_iou": (2.0, "tracker.min_iou"),
            "join_buffer": (0, "join_buffer"),
            "model": ("/other", "read-only"),
            "min_score": ("high", "wrong parameter type"),
        }
        for name, (value, reason) in cases.items():
            before = node.get_parameter(name).value
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful, name
            assert reason in result.reason.lower() or reason in result.reason, result.reason
            assert node.get_parameter(name).value == before
        (result,) = node.set_parameters([Parameter("tracker.cold_every", value=3)])
        assert result.successful
        assert node._settings.tracker.cold_every == 3
        (result,) = node.set_parameters([Parameter("class_map", value=["2=car"])])
        assert result.successful
        assert node._settings.pipeline.class_map == {"2": "car"}


def test_change_applies_to_the_next_frame(ros_environment: dict[str, str]) -> None:
    stand_in = StandIn()
    with made(stand_in, autostart=True) as node:
        until(lambda: node.state == "active")
        feed(node, 1_000_000_000)
        until(lambda: node._health.counts().get("frames answered") == 1)
        assert "track car-1" in {s.name for s in node._health.report("active")}
        node.set_parameters([Parameter("min_score", value=0.95)])
        feed(node, 1_100_000_000)
        until(lambda: node._health.counts()["frames answered"] == 2)
        left_out = status(node, "track car-1")
        assert left_out.values["pose published"] == "no"
        assert "below 0.95" in left_out.message


def test_the_reset_service_forgets_every_object(ros_environment: dict[str, str]) -> None:
    stand_in = StandIn()
    with made(stand_in, autostart=True) as node:
        trigger = RclpyMessages().type("std_srvs/srv/Trigger")
        until(lambda: node.state == "active")
        feed(node, 1_000_000_000)
        until(lambda: node._health.counts().get("frames answered") == 1)
        user = rclpy.create_node("user", context=node.context, namespace="nemo")
        client = user.create_client(trigger, "/nemo/pose_node/reset")
        assert client.wait_for_service(timeout_sec=10.0)
        future = client.call_async(trigger.Request())
        executor = SingleThreadedExecutor(context=node.context)
        rclpy.spin_until_future_complete(user, future, executor, timeout_sec=10.0)
        assert future.result().success
        assert "forgotten" in future.result().message
        assert "track car-1" not in {s.name for s in node._health.report("active")}
        feed(node, 1_100_000_000)
        until(lambda: node._health.counts()["frames answered"] == 2)
        assert stand_in.priors[-1] is None, "found anew"
        assert node._health.counts()["resets"] == 1
        user.destroy_node()


def test_states_are_published_with_the_frame(ros_environment: dict[str, str]) -> None:
    with made(StandIn(), autostart=True) as node:
        until(lambda: node.state == "active")
        sent: list[Any] = []
        node._states.publish = sent.append
        feed(node, 1_000_000_000)
        until(lambda: node._health.counts().get("frames answered") == 1)
        (message,) = sent
        assert conversion.stamp_ns(message) == 1_000_000_000
        (one,) = message.status
        assert one.name == "track car-1"
        values = {pair.key: pair.value for pair in one.values}
        assert (values["state"], values["score"]) == ("tentative", "0.900")


def test_objects_that_wait_for_their_turn_are_counted(ros_environment: dict[str, str]) -> None:
    x1, y1, x2, y2 = car().box
    beside = (x2 + 5.0, y1, x2 + 5.0 + (x2 - x1) / 2, y2)
    cars = [replace(car(), track_id="a"), replace(car(), box=beside, track_id="b")]
    with made(StandIn(), autostart=True, tracker__look_most=1) as node:
        until(lambda: node.state == "active")
        for i in range(3):
            feed(node, 10**9 + i * 10**8, cars)
            until(lambda i=i: node._health.counts().get("frames answered") == i + 1)
        assert node._health.counts()["objects that waited a frame"] == 3


def test_images_are_answered_at_once_and_late_boxes_caught_up(
    ros_environment: dict[str, str],
) -> None:
    messages = RclpyMessages()
    with made(StandIn(), autostart=True, answer_on_image=True) as node:
        until(lambda: node.state == "active")
        sent: list[Any] = []
        node._poses.publish = sent.append
        for i in range(4):
            header = conversion.header(messages, 10**9 + i * 10**8, "camera")
            node._on_camera_info(conversion.camera_message(messages, header, camera()))
            if i == 2:  # the boxes of the first image
                first = conversion.header(messages, 10**9, "camera")
                node._on_boxes(conversion.boxes_message(messages, first, [car()]))
            node._on_image(conversion.image_message(messages, header, picture()))
            until(lambda i=i: len(sent) == i + 1)
        assert [len(message.detections) for message in sent] == [0, 0, 1, 1]
        assert conversion.stamp_ns(sent[2]) == 10**9 + 2 * 10**8


def test_clock_that_jumps_back_clears_the_tracks(ros_environment: dict[str, str]) -> None:
    stand_in = StandIn()
    with made(stand_in, autostart=True, use_sim_time=True, tracker__cold_every=0) as node:
        until(lambda: node.state == "active")
        clock = RclpyMessages().type("rosgraph_msgs/msg/Clock")
        time_of = RclpyMessages().type("builtin_interfaces/msg/Time")
        publisher = node.create_publisher(clock, "/clock", 10)
        until(lambda: publisher.get_subscription_count() > 0)

        def tick(seconds: int) -> None:
            until(
                lambda: (
                    publisher.publish(clock(clock=time_of(sec=seconds))) is None
                    and node.get_clock().now().nanoseconds == seconds * 10**9
                )
            )

        tick(100)
        feed(node, 100_000_000_000)
        until(lambda: node._health.counts().get("frames answered") == 1)
        feed(node, 100_100_000_000)
        until(lambda: node._health.counts()["frames answered"] == 2)
        assert stand_in.priors[-1] is not None
        tick(99)  # less than reset_jump_s, so only the clock tells
        until(lambda: node._health.counts().get("clock jumps", 0) >= 1)
        feed(node, 99_500_000_000)
        until(lambda: node._health.counts()["frames answered"] == 3)
        assert stand_in.priors[-1] is None, "found anew"


def test_pose_yaml_is_the_reference(repository: Any) -> None:
    """config/pose.yaml names every parameter with its default, and nothing else."""
    loaded = yaml.safe_load((repository / "config" / "pose.yaml").read_text())
    given = dict(loaded["/**"]["ros__parameters"])
    for name, value in given.pop("tracker").items():
        given[parameters.TRACKER + name] = value
    assert given == {name: spec.default for name, spec in parameters.SPECS.items()}


@pytest.mark.parametrize("name", list(parameters.SPECS))
def test_every_parameter_is_described(name: str) -> None:
    descriptor = parameters.SPECS[name].descriptor()
    assert len(descriptor.description) > 10
    if isinstance(parameters.SPECS[name].default, float):
        assert descriptor.floating_point_range, "a number has a range"


def test_a_misspelt_parameter_is_told(ros_environment: dict[str, str]) -> None:
    with made(StandIn(), tracker__lost_afer_s=0.5, tracker__lost_after_s=0.5) as node:
        assert parameters.strangers(node) == ["tracker.lost_afer_s"]
        texts = [str(status) for status in node._health.report("unconfigured")]
        assert any("tracker.lost_afer_s is not one of this node" in text for text in texts)
