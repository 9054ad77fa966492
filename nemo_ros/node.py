# SPDX-License-Identifier: Apache-2.0
"""The pose node: images, camera_info and boxes in, poses, overlay and diagnostics out.

A lifecycle node that by default configures and activates itself. The executor's one thread only
joins messages and counts; one worker thread runs the pipeline, fed through a slot of one frame, so
latency cannot grow. There is no pose logic here: see nemo_ros.pipeline and nemo_model.tracker.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import rclpy
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from nemo_model import overlay
from nemo_model.errors import NemoError
from nemo_model.tracker import StaleFrame, Tracker
from nemo_ros import conversion, parameters
from nemo_ros.diagnostics import Health, facts_of, model_facts, track_status
from nemo_ros.jobs import Arrived, Job
from nemo_ros.joiner import Joiner, Pair
from nemo_ros.messages import RclpyMessages
from nemo_ros.pipeline import Outcome, Pipeline, load_estimators, warm_up
from nemo_ros.share import share
from nemo_ros.stash import Stash, Taken
from nemo_ros.worker import Worker

Loader = Callable[[str, int, Sequence[str], str], Mapping[str, Any]]
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
IMAGE_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


class PoseNode(LifecycleNode):
    """See the module. ``loader`` makes the estimators by category (a seam for tests)."""

    def __init__(self, loader: Loader = load_estimators, **options: Any) -> None:
        super().__init__("pose_node", **options)
        self._loader = loader
        self._messages = RclpyMessages()
        self._health = Health()
        parameters.declare(self)
        self._settings = parameters.settings(parameters.values(self))
        for name in parameters.strangers(self):
            self._problem("parameters", f"{name} is not one of this node, it has no effect")
        self.add_on_set_parameters_callback(self._on_parameters)
        self._joiner: Joiner[Arrived, Any] = self._new_joiner()
        self._stash: Stash[Any] = Stash(self._settings.join_buffer)
        self._camera_info: Any | None = None
        self._rectified = True
        self._reset_pending = False
        self._pipeline: Pipeline | None = None
        self._worker: Worker[Job] | None = None
        self._subscriptions_made: list[Any] = []
        self._outputs: list[Any] = []
        self._diagnostics = self.create_publisher(
            self._messages.type(DIAGNOSTICS), "/diagnostics", 10
        )
        self._timer = self.create_timer(self._settings.diagnostics_period_s, self._report)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=self._on_clock_jump,
        )
        self._reset = self.create_service(
            self._messages.type("std_srvs/srv/Trigger"), "~/reset", self._on_reset
        )
        self._start: Any | None = None
        if self.get_parameter("autostart").value:
            self._start = self.create_timer(0.0, self._autostart)

    @property
    def state(self) -> str:
        """The lifecycle state in words."""
        return str(self._state_machine.current_state[1])

    # -- life -------------------------------------------------------------------------------------

    def _autostart(self) -> None:
        if self._start is not None:
            self.destroy_timer(self._start)
            self._start = None
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the models, run them once, make the outputs."""
        values = parameters.values(self)
        try:
            model = values["model"] or str(share() / "models" / "car")
            begin = time.monotonic()
            estimators = self._loader(
                model, values["threads"], [p for p in values["providers"] if p], values["boxes"]
            )
            self.get_logger().info(f"model {model} is loaded, now warmed up (once: compiled)")
            warm_up(estimators)
            tracker = Tracker(estimators, self._settings.tracker, time.perf_counter)
        except Exception as error:
            # FAILURE leaves the node unconfigured and alive: a manager may try again
            self._health.error(f"cannot load the model: {error}")
            self.get_logger().error(f"cannot load the model: {error}")
            return TransitionCallbackReturn.FAILURE
        self._health.error(None)
        self._health.facts(model_facts(estimators))
        self._pipeline = Pipeline(tracker, self._settings.pipeline)
        self._make_outputs(values["publish_tf"])
        self._worker = Worker(self._work, self._failed)
        self.get_logger().info(
            f"{', '.join(estimators)}: ready in {time.monotonic() - begin:.1f} s"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the inputs."""
        self._make_subscriptions()
        self.get_logger().info("active")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the model and its warm caches are kept, the tracks are not."""
        self._forget_inputs()
        if self._worker is not None:
            self._worker.drain(5.0)
        if self._pipeline is not None:
            self._pipeline.reset()
        self._health.clear_tracks()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the model."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _make_outputs(self, publish_tf: bool) -> None:
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        image = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        self._poses = self._output("vision_msgs/msg/Detection3DArray", "poses", reliable)
        self._overlay = self._output("sensor_msgs/msg/Image", "overlay", image)
        self._states = self._output(DIAGNOSTICS, "tracks", reliable)
        self._tf = self._output("tf2_msgs/msg/TFMessage", "/tf", reliable) if publish_tf else None

    def _output(self, name: str, topic: str, qos: QoSProfile) -> Any:
        publisher = self.create_lifecycle_publisher(
            self._messages.type(name),
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._outputs.append(publisher)
        return publisher

    def _make_subscriptions(self) -> None:
        # Best effort takes from every publisher. The executor only joins, so a few images waiting
        # here are no lag: the worker's slot keeps the newest, and what it drops is counted, while
        # what DDS drops is not.
        image_type = IMAGE_TYPES[self.get_parameter("image_transport").value]
        for name, topic, depth, callback in (
            (image_type, "image", 5, self._on_image),
            ("sensor_msgs/msg/CameraInfo", "camera_info", 2, self._on_camera_info),
            ("vision_msgs/msg/Detection2DArray", "detections", 5, self._on_boxes),
        ):
            qos = QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=depth,
                reliability=ReliabilityPolicy.BEST_EFFORT,
            )
            subscription = self.create_subscription(
                self._messages.type(name),
                topic,
                callback,
                qos,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(self._on_incompatible_qos, topic)
                ),
            )
            self._subscriptions_made.append(subscription)
            if topic == "image":
                self._rectified = self._settings.pipeline.rectified(subscription.topic_name)

    def _forget_inputs(self) -> None:
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._subscriptions_made.clear()
        self._joiner.clear()
        self._stash.clear()

    def _release(self) -> None:
        self._forget_inputs()
        if self._worker is not None:
            self._worker.stop()
        for publisher in self._outputs:
            self.destroy_publisher(publisher)
        self._managed_entities.difference_update(self._outputs)
        self._outputs.clear()
        self._worker = self._pipeline = None
        self._health.clear_tracks()

    # -- inputs: the executor's thread ------------------------------------------------------------

    def _on_image(self, message: Any) -> None:
        self._health.saw("image")
        arrived = Arrived(message, time.monotonic())
        if self._settings.answer_on_image:
            self._hand_over(arrived, None)
            return
        self._join(self._joiner.add_image(conversion.stamp_ns(message), arrived))

    def _on_boxes(self, message: Any) -> None:
        self._health.saw("boxes")
        if self._settings.answer_on_image:
            self._stash.put(conversion.stamp_ns(message), message)
            return
        self._join(self._joiner.add_boxes(conversion.stamp_ns(message), message))

    def _on_camera_info(self, message: Any) -> None:
        self._health.saw("camera_info")
        try:
            camera, distortion = conversion.camera_from(message, self._rectified)
        except ValueError as error:
            self._camera_info = None
            self._problem("camera_info", str(error))
            return
        self._camera_info = message
        lens = "no distortion" if distortion is None else distortion.model
        self._health.calibrated(f"{camera.width} x {camera.height}, {lens}")

    def _on_incompatible_qos(self, topic: str, event: Any) -> None:
        self._problem(
            "qos",
            f"a publisher of {topic} offers a QoS that was not asked for "
            f"(policy {event.last_policy_kind}); nothing is received from it",
        )

    def _join(self, pair: Pair[Arrived, Any] | None) -> None:
        if pair is not None:
            self._hand_over(pair.image, pair.boxes)

    def _hand_over(self, image: Arrived, boxes: Any | None) -> None:
        if self._worker is None:
            return
        job = Job(image, boxes, self._camera_info, self._settings, self._reset_pending)
        self._reset_pending = False
        if not self._worker.put(job):
            self._health.count("frames dropped (worker busy)")

    def _on_clock_jump(self, jump: Any) -> None:
        self.get_logger().warning("the clock jumped back: tracks are cleared")
        self._forget()
        self._health.count("clock jumps")

    def _on_reset(self, request: Any, response: Any) -> Any:
        """~/reset (std_srvs/Trigger): forget every object; the next frame starts anew."""
        self._forget()
        self._health.count("resets")
        done = self._pipeline is not None
        text = "every object is forgotten" if done else f"{self.state}: nothing to forget"
        return conversion.answered(response, done, text)

    def _forget(self) -> None:
        self._joiner.clear()
        self._stash.clear()
        self._reset_pending = True
        self._health.clear_tracks()

    def _on_parameters(self, changes: list[Parameter]) -> Any:
        result, settings = parameters.judge(self, changes)
        if settings is not None:
            if settings.diagnostics_period_s != self._settings.diagnostics_period_s:
                self._timer.timer_period_ns = round(settings.diagnostics_period_s * 1e9)
            self._settings = settings
            self._joiner.capacity = settings.join_buffer
            self._joiner.tolerance_ns = settings.join_tolerance_ns
            self._stash.capacity = settings.join_buffer
        return result

    def _new_joiner(self) -> Joiner[Arrived, Any]:
        return Joiner(self._settings.join_buffer, self._settings.join_tolerance_ns)

    # -- a frame: the worker's thread -------------------------------------------------------------

    def _work(self, job: Job) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        begin = time.monotonic()
        if job.reset:
            pipeline.reset()
        pipeline.config, pipeline.tracker.config = job.settings.pipeline, job.settings.tracker
        image = job.image.message
        try:
            if job.camera_info is None:
                self._problem("frame", "left out: no camera_info that can be used has arrived")
                return
            pipeline.calibrate(job.camera_info, self._rectified)
            boxes: Taken[Any] = Taken(job.boxes, ())
            if job.boxes is None:
                stamp = conversion.stamp_ns(image)
                boxes = self._stash.take(stamp, job.settings.join_tolerance_ns)
            outcome = pipeline.step(image, boxes.own, boxes.late)
        except StaleFrame as error:
            self._problem("order", str(error))
            return
        except ValueError as error:
            self._problem("image", str(error))
            return
        self._publish(image, outcome, job.settings)
        for rejected in outcome.result.rejected:
            self._problem("boxes", rejected.reason)
        if outcome.result.reset:
            self._health.count("tracks cleared (stamps jumped back)")
        if outcome.result.waiting:
            self._health.count("objects that waited a frame", outcome.result.waiting)
        now = time.monotonic()
        result = outcome.result
        self._health.frame(
            1e3 * (now - job.image.at), 1e3 * (now - begin),
            [*(facts_of(t, True) for t in result.tracks),
             *(facts_of(t, False) for t in result.unseen)],
        )  # fmt: skip

    def _publish(self, image: Any, outcome: Outcome, settings: parameters.Settings) -> None:
        tracks, header = outcome.result.tracks, image.header
        self._poses.publish(conversion.poses_message(self._messages, header, tracks))
        states = [
            track_status(facts_of(track, shown))
            for group, shown in ((tracks, True), (outcome.result.unseen, False))
            for track in group
        ]
        self._states.publish(conversion.states_message(self._messages, header, states))
        if self._tf is not None and tracks:
            prefix = self.get_namespace().strip("/") or "nemo"
            self._tf.publish(conversion.transforms_message(self._messages, header, tracks, prefix))
        if settings.publish_overlay and self._overlay.get_subscription_count() > 0:
            drawn = overlay.draw(outcome.frame.image, tracks)
            self._overlay.publish(conversion.image_message(self._messages, header, drawn))

    def _failed(self, error: Exception) -> None:
        self._problem("internal", f"{type(error).__name__}: {error}")

    # -- reporting --------------------------------------------------------------------------------

    def _problem(self, kind: str, text: str) -> None:
        self._health.problem(kind, text)
        self.get_logger().warning(f"{kind}: {text}", throttle_duration_sec=5.0)

    def _report(self) -> None:
        self._health.gauge("images without boxes", self._joiner.dropped.images)
        self._health.gauge(
            "boxes without an image", self._joiner.dropped.boxes + self._stash.dropped
        )
        stamp = self.get_clock().now().nanoseconds
        name = self.get_fully_qualified_name().strip("/")
        statuses = self._health.report(self.state)
        self._diagnostics.publish(
            conversion.diagnostics_message(self._messages, stamp, name, "nemo_ros", statuses)
        )


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``pose_node``."""
    try:
        rclpy.init(args=None if args is None else list(args))
        node = PoseNode()
    except (NemoError, RuntimeError) as error:  # RCLError is one: a name, a file of parameters
        print(f"pose_node: error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.on_shutdown(LifecycleState(node.state, 0))
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
