# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table with description, range and default; refusals say why.

Declared in one place, read into frozen settings that the worker swaps between two frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from nemo_model.errors import NemoError
from nemo_model.tracker import TrackerConfig
from nemo_ros.pipeline import PipelineConfig, parse_class_map

TRACKER = "tracker."


@dataclass(frozen=True)
class Spec:
    """A parameter: default, one sentence, range (low, high) for numbers, whether it is fixed."""

    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    fixed: bool = False
    choices: tuple[str, ...] = ()

    def descriptor(self) -> ParameterDescriptor:
        """As ROS describes it. A range is inclusive; step 0 is a continuous one."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.fixed)
        if self.choices:
            descriptor.additional_constraints = f"one of: {', '.join(self.choices)}"
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                low, high = float(self.low), float(self.high)
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high)
                ]
            else:
                low_int, high_int = int(self.low), int(self.high)
                descriptor.integer_range = [
                    IntegerRange(from_value=low_int, to_value=high_int, step=1)
                ]
        return descriptor


_RANGES: Mapping[str, tuple[float, float, str]] = {
    "min_iou": (0, 1, "overlap with its predicted box that joins a box without an id"),
    "min_box_px": (1, 1000, "smaller boxes, or less inside the image, are rejected, pixels"),
    "still_iou": (0, 1, "a box that overlaps its last one more than this has not moved"),
    "upper_score": (0, 1, "an object is tracked (again) from this score on"),
    "lower_score": (0, 1, "below this the image does not support the pose"),
    "confirm_hits": (0, 1000, "frames of at least upper_score until it is no longer tentative"),
    "lost_after_s": (0, 3600, "without support for longer: lost, s"),
    "bridge_s": (0, 3600, "without a box the image alone supports it no longer, s; 0: never"),
    "forget_after_s": (0, 3600, "a lost object is known again by its place until then, s"),
    "max_gap_s": (0, 3600, "a longer pause of the stream drops all objects, s; 0: never"),
    "reset_jump_s": (0, 3600, "a stamp further back than this starts anew, s"),
    "look_most": (0, 1000, "objects of a frame that are looked at, the others wait; 0: all"),
    "weak_energy": (0, 1, "energy below this share of the object's usual is weak; 0: never"),
    "weak_every": (0, 1000, "while weak, frames between two global searches; 0: never"),
    "cold_every": (0, 100000, "frames between two global searches anyway; 0: never"),
    "cold_most": (0, 1000, "objects of a frame that have such a search, in turn; 0: all"),
    "switch_gain": (0, 10, "energy share that another orientation must win by"),
    "grid_deg": (0, 45, "step of the local grid for a weak object, degrees; 0: none"),
    "damping_s": (0, 60, "time constant of a predicted velocity, s; 0: no motion"),
    "roll_corners": (0, 10000, "of the background, for the camera's roll; from 20; 0: not read"),
    "buffer_frames": (0, 200, "images kept for boxes that come late"),
    "budget_ms": (0, 10000, "work per frame by the costs below, ms; 0: no limit"),
    "cost_observe_ms": (0, 1000, "of running the network on one box, ms"),
    "cost_warm_ms": (0, 1000, "of one refinement, ms"),
    "cost_cold_ms": (0, 1000, "of one global search, ms"),
}


def _tracker_specs() -> dict[str, Spec]:
    specs = {}
    for entry in fields(TrackerConfig):
        low, high, text = _RANGES.get(entry.name, (None, None, f"see TrackerConfig.{entry.name}"))
        specs[TRACKER + entry.name] = Spec(entry.default, text, low, high)
    return specs


SPECS: Mapping[str, Spec] = {
    "model": Spec(
        "", "model bundle folders, comma separated; empty: the installed car", fixed=True
    ),
    "threads": Spec(1, "CPU threads of the backbone", 1, 64, fixed=True),
    "providers": Spec([""], 'onnxruntime providers, best first; [""]: choose', fixed=True),
    "image_transport": Spec(
        "raw", "type of the image topic", fixed=True, choices=("raw", "compressed")
    ),
    "image_geometry": Spec(
        "auto",
        "whether images are rectified (P holds) or raw (K and D hold)",
        fixed=True,
        choices=("auto", "raw", "rectified"),
    ),
    "boxes": Spec(
        "whole",
        "what boxes enclose: the whole object, its hidden part too, or the visible part",
        fixed=True,
        choices=("whole", "visible"),
    ),
    "class_map": Spec(
        ["car=car"], "detector's classes of a category: 'detector_class=category', '*=auto'"
    ),
    "use_detection_ids": Spec(True, "take the detector's box ids as track ids"),
    "join_tolerance_ms": Spec(0.0, "largest difference of image and box stamps, ms", 0, 1000),
    "join_buffer": Spec(10, "images and boxes that wait for their partner", 1, 200),
    "answer_on_image": Spec(False, "answer images at once; boxes that come later are caught up"),
    "min_score": Spec(0.0, "poses scored lower are not published", 0, 1),
    "publish_overlay": Spec(True, "draw the overlay image while somebody listens"),
    "publish_tf": Spec(False, "publish poses as transforms on /tf as well", fixed=True),
    "diagnostics_period_s": Spec(1.0, "time between messages on /diagnostics, s", 0.05, 3600),
    "autostart": Spec(True, "configure and activate without a lifecycle manager", fixed=True),
    **_tracker_specs(),
}


@dataclass(frozen=True)
class Settings:
    """Everything that can be changed while the node runs, checked."""

    pipeline: PipelineConfig
    tracker: TrackerConfig
    join_tolerance_ns: int
    join_buffer: int
    answer_on_image: bool
    publish_overlay: bool
    diagnostics_period_s: float


def declare(node: Node) -> None:
    """Declare every parameter with its descriptor."""
    for name, spec in SPECS.items():
        node.declare_parameter(name, spec.default, spec.descriptor())


def strangers(node: Node) -> list[str]:
    """Names of parameters that were given and that the node does not have, as misspelt ones.

    rclpy keeps silent about them; it holds what was given in an attribute that is not public.
    """
    given = getattr(node, "_parameter_overrides", {})
    known = {*SPECS, "use_sim_time", "start_type_description_service"}
    return sorted(n for n in given if n not in known and not n.startswith("qos_overrides."))


def values(node: Node) -> dict[str, Any]:
    """The current values by name."""
    return {name: node.get_parameter(name).value for name in SPECS}


def settings(current: Mapping[str, Any]) -> Settings:
    """Check values and make settings of them. Raises NemoError that names the parameter."""
    for name, spec in SPECS.items():
        if spec.choices and current[name] not in spec.choices:
            raise NemoError(f"{name} is {current[name]!r}, it must be one of: {spec.choices}")
    tracker = {entry.name: current[TRACKER + entry.name] for entry in fields(TrackerConfig)}
    return Settings(
        pipeline=PipelineConfig(
            class_map=parse_class_map([e for e in current["class_map"] if e]),
            use_detection_ids=current["use_detection_ids"],
            image_geometry=current["image_geometry"],
            min_score=current["min_score"],
        ),
        tracker=TrackerConfig(**tracker),
        join_tolerance_ns=round(current["join_tolerance_ms"] * 1e6),
        join_buffer=current["join_buffer"],
        answer_on_image=current["answer_on_image"],
        publish_overlay=current["publish_overlay"],
        diagnostics_period_s=current["diagnostics_period_s"],
    )


def judge(node: Node, changes: Iterable[Parameter]) -> tuple[SetParametersResult, Settings | None]:
    """Whether changes are accepted, and the settings that they would lead to."""
    ours = {p.name: p.value for p in changes if p.name in SPECS}
    if not ours:
        return SetParametersResult(successful=True), None
    try:
        return SetParametersResult(successful=True), settings({**values(node), **ours})
    except ValueError as error:
        return SetParametersResult(successful=False, reason=str(error)), None
