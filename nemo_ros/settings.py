# SPDX-License-Identifier: Apache-2.0
"""The node's parameter file for use without ROS, and where the installed model is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from nemo_model.errors import NemoError
from nemo_model.tracker import TrackerConfig
from nemo_ros.pipeline import PipelineConfig, parse_class_map
from nemo_ros.replay import ReplayConfig

_TAKEN = {
    "model",
    "threads",
    "providers",
    "boxes",
    "class_map",
    "use_detection_ids",
    "image_geometry",
    "min_score",
    "join_tolerance_ms",
    "join_buffer",
    "answer_on_image",
}
_LIVE_ONLY = {
    "image_transport",
    "publish_overlay",
    "publish_tf",
    "diagnostics_period_s",
    "autostart",
    "use_sim_time",
    "qos_overrides",
}


@dataclass(frozen=True)
class Parameters:
    """What replay takes from a parameter file. model "": the installed one."""

    replay: ReplayConfig = field(default_factory=ReplayConfig)
    model: str = ""
    threads: int = 1
    providers: tuple[str, ...] = ()
    boxes: str = "whole"


def default_model() -> Path:
    """The car bundle of this checkout, or of the installation.

    Raises:
        NemoError: naming the folders that were tried.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    tried = [Path(__file__).resolve().parent.parent / "models" / "car"]
    tried += [Path(p) / "share" / "nemo_ros" / "models" / "car" for p in [*prefixes, sys.prefix]]
    for folder in tried:
        if folder.is_dir():
            return folder
    places = ", ".join(str(folder) for folder in tried)
    raise NemoError(f"no model is installed (looked in {places}); name one with --model")


def read_parameters(path: Path | None) -> Parameters:
    """The parameters of a file like config/pose.yaml; None gives the defaults.

    Raises:
        NemoError: naming the file and the parameter.
    """
    if path is None:
        return Parameters()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NemoError(f"{path}: cannot be read as YAML ({error})") from error
    values = _ros_parameters(path, content)
    tracker = values.pop("tracker", {})
    known = {entry.name for entry in fields(TrackerConfig)}
    strangers = [f"tracker.{name}" for name in tracker if name not in known]
    taken = _TAKEN | _LIVE_ONLY
    strangers += [name for name in values if name not in taken]
    if strangers:
        raise NemoError(f"{path}: unknown parameter(s) {', '.join(sorted(strangers))}")
    defaults = PipelineConfig()
    try:
        pipeline = PipelineConfig(
            class_map=parse_class_map([e for e in values.get("class_map", []) if e]),
            use_detection_ids=bool(values.get("use_detection_ids", defaults.use_detection_ids)),
            image_geometry=str(values.get("image_geometry", defaults.image_geometry)),
            min_score=float(values.get("min_score", defaults.min_score)),
        )
        replay = ReplayConfig(
            pipeline,
            TrackerConfig(**tracker),
            round(float(values.get("join_tolerance_ms", 0.0)) * 1e6),
            int(values.get("join_buffer", 10)),
            answer_on_image=bool(values.get("answer_on_image", False)),
        )
        return Parameters(
            replay,
            str(values.get("model", "")),
            int(values.get("threads", 1)),
            tuple(p for p in values.get("providers", []) if p),
            str(values.get("boxes", "whole")),
        )
    except (TypeError, ValueError) as error:
        raise NemoError(f"{path}: {error}") from error


def _ros_parameters(path: Path, content: Any) -> dict[str, Any]:
    """The one ros__parameters mapping of the file, dotted names made nested."""
    found = [
        node["ros__parameters"]
        for node in (content.values() if isinstance(content, Mapping) else [])
        if isinstance(node, Mapping) and isinstance(node.get("ros__parameters"), Mapping)
    ]
    if len(found) != 1:
        raise NemoError(
            f"{path}: needs one node (or /**) with ros__parameters, it has {len(found)}"
        )
    values: dict[str, Any] = {}
    for name, value in found[0].items():
        group, dot, rest = str(name).partition(".")
        if dot and group == "tracker":
            values.setdefault("tracker", {})[rest] = value
        elif name == "tracker":
            values.setdefault("tracker", {}).update(value or {})
        else:
            values[str(name)] = value
    return values
