# SPDX-License-Identifier: Apache-2.0
"""Run a launch file where no launch system is to be had: the smallest part of launch's API.

A bare machine has neither `ros2 launch` nor the shared libraries that play_launch asks for; the
demo must run there all the same. The launch file is the one that everybody runs: this module
stands in for `launch` and `launch_ros` while the file is read, and knows just what
launch/pose.launch.py needs. Anything else is refused by name.

    python -m nemo_ros.plain_launch LAUNCH_FILE [NAME:=VALUE ...]
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nemo_model.errors import NemoError


class PlainLaunchError(NemoError):
    """A launch file that needs more than this module has, or a wrong argument."""


@dataclass
class Context:
    """Values of the launch arguments, and the environment of the nodes."""

    arguments: dict[str, str]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class LaunchConfiguration:
    """The value of a launch argument."""

    name: str

    def perform(self, context: Context) -> str:
        if self.name not in context.arguments:
            raise PlainLaunchError(f"launch argument {self.name!r} is used but not declared")
        return context.arguments[self.name]


@dataclass(frozen=True)
class PathJoinSubstitution:
    """Parts of a path."""

    parts: Sequence[Any]

    def perform(self, context: Context) -> str:
        return os.path.join(*(text(part, context) for part in self.parts))


@dataclass(frozen=True)
class FindPackageShare:
    """share/PACKAGE of the first ament prefix that has the package."""

    package: str

    def perform(self, context: Context) -> str:
        return str(_prefix(self.package, context) / "share" / self.package)


@dataclass(frozen=True)
class DeclareLaunchArgument:
    """An argument with its default."""

    name: str
    default_value: Any = None
    description: str = ""

    def visit(self, context: Context, nodes: list[Node]) -> None:
        if self.name in context.arguments:
            return
        if self.default_value is None:
            raise PlainLaunchError(f"launch argument {self.name!r} is needed: {self.description}")
        context.arguments[self.name] = text(self.default_value, context)


@dataclass(frozen=True)
class SetEnvironmentVariable:
    """A variable for the nodes that follow."""

    name: str
    value: Any

    def visit(self, context: Context, nodes: list[Node]) -> None:
        context.environment[self.name] = text(self.value, context)


@dataclass(frozen=True)
class Node:
    """An executable of a package."""

    package: str
    executable: str
    name: Any = None
    namespace: Any = ""
    output: str = "log"
    parameters: Sequence[Any] = ()
    remappings: Sequence[tuple[Any, Any]] = ()
    arguments: Sequence[Any] = ()

    def visit(self, context: Context, nodes: list[Node]) -> None:
        nodes.append(self)

    def command(self, context: Context, folder: Path) -> list[str]:
        """What is executed; parameters given as a mapping become a file in ``folder``."""
        program = _prefix(self.package, context) / "lib" / self.package / self.executable
        command = [str(program), *(text(a, context) for a in self.arguments), "--ros-args"]
        if self.name is not None:
            command += ["-r", f"__node:={text(self.name, context)}"]
        namespace = text(self.namespace, context).strip("/")
        if namespace:
            command += ["-r", f"__ns:=/{namespace}"]
        for source, target in self.remappings:
            command += ["-r", f"{text(source, context)}:={text(target, context)}"]
        for index, entry in enumerate(self.parameters):
            path = Path(folder) / f"{self.executable}_{index}.yaml"
            if isinstance(entry, Mapping):
                values = {name: _typed(text(value, context)) for name, value in entry.items()}
                path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
                command += ["--params-file", str(path)]
            else:
                command += ["--params-file", text(entry, context)]
        return command


@dataclass(frozen=True)
class LaunchDescription:
    """Actions in their order."""

    entities: Sequence[Any]


def text(value: Any, context: Context) -> str:
    """A string, a substitution, or a list of both, as a string."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "".join(text(part, context) for part in value)
    if hasattr(value, "perform"):
        return str(value.perform(context))
    return yaml.safe_dump(value).split("\n")[0]


def plan(path: Path, arguments: Mapping[str, str], folder: Path) -> tuple[list[list[str]], Context]:
    """The commands of a launch file's nodes, and the context with their environment.

    Raises:
        PlainLaunchError: for an argument that is not declared, or an action that is not known.
    """
    with _stand_ins():
        description = runpy.run_path(str(path))["generate_launch_description"]()
    context = Context(dict(arguments))
    nodes: list[Node] = []
    declared = {e.name for e in description.entities if isinstance(e, DeclareLaunchArgument)}
    unknown = sorted(set(arguments) - declared)
    if unknown:
        raise PlainLaunchError(
            f"{path.name}: no argument {unknown[0]!r}; there are: {', '.join(sorted(declared))}"
        )
    for entity in description.entities:
        entity.visit(context, nodes)
    return [node.command(context, folder) for node in nodes], context


def run(path: Path, arguments: Mapping[str, str]) -> int:
    """Start the nodes and wait until all have ended; SIGINT and SIGTERM are passed on to them."""
    with tempfile.TemporaryDirectory(prefix="plain_launch_") as folder:
        commands, context = plan(path, arguments, Path(folder))
        processes = [subprocess.Popen(c, env=context.environment) for c in commands]
        for process, command in zip(processes, commands, strict=True):
            print(f"[plain_launch] started {Path(command[0]).name} ({process.pid})", flush=True)

        def forward(number: int, frame: object) -> None:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(number)

        signal.signal(signal.SIGINT, forward)
        signal.signal(signal.SIGTERM, forward)
        return max(abs(process.wait()) for process in processes)


def _typed(value: str) -> Any:
    """A parameter's value as launch types it: by YAML; an empty text is an empty string."""
    return yaml.safe_load(value) if value else ""


def _prefix(package: str, context: Context) -> Path:
    prefixes = context.environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in [*filter(None, prefixes), sys.prefix]:
        marker = Path(prefix) / "share/ament_index/resource_index/packages" / package
        if marker.exists():
            return Path(prefix)
    raise PlainLaunchError(f"package {package!r} is in none of AMENT_PREFIX_PATH: call make setup")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put this module's classes where a launch file imports them from, for a while."""

    def module(name: str, **content: Any) -> types.ModuleType:
        made = types.ModuleType(name)

        def missing(attribute: str) -> Any:
            raise PlainLaunchError(
                f"{name}.{attribute} is not known here: install ROS 2, whose launch has all of it"
            )

        made.__dict__.update(content, __getattr__=missing, __path__=[])
        return made

    modules = {
        "launch": module("launch", LaunchDescription=LaunchDescription),
        "launch.actions": module(
            "launch.actions",
            DeclareLaunchArgument=DeclareLaunchArgument,
            SetEnvironmentVariable=SetEnvironmentVariable,
        ),
        "launch.substitutions": module(
            "launch.substitutions",
            LaunchConfiguration=LaunchConfiguration,
            PathJoinSubstitution=PathJoinSubstitution,
        ),
        "launch_ros": module("launch_ros"),
        "launch_ros.actions": module("launch_ros.actions", Node=Node),
        "launch_ros.substitutions": module(
            "launch_ros.substitutions", FindPackageShare=FindPackageShare
        ),
    }
    kept = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, before in kept.items():
            if before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = before


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if not given or any(":=" not in entry for entry in given[1:]):
            raise PlainLaunchError("usage: LAUNCH_FILE [NAME:=VALUE ...]")
        pairs = [entry.split(":=", 1) for entry in given[1:]]
        return run(Path(given[0]), dict(pairs))
    except NemoError as error:
        print(f"plain_launch: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
