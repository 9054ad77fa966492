# SPDX-License-Identifier: Apache-2.0
"""Start the pose node as `ros2 launch nemo_ros pose.launch.py` does, also where ROS 2 is wheels."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from nemo_model.errors import NemoError
from nemo_ros.launching import environment, launch_command, sourced

LAUNCH_FILE = "pose.launch.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="NAME:=VALUE",
        help="arguments of launch/pose.launch.py, e.g. image:=/camera/image_rect",
    )


def run(args: argparse.Namespace) -> int:
    """Become the launcher, so that Ctrl-C and signals reach it; returns only when refused."""
    command, env = plan(args.arguments)
    os.execvpe(command[0], command, env)


def plan(entries: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment.

    Raises:
        NemoError: for an entry that is not NAME:=VALUE, or when nothing here can launch.
    """
    arguments = {}
    for entry in entries:
        name, mark, value = entry.partition(":=")
        if not mark or not name:
            raise NemoError(f"{entry!r} is not of the form NAME:=VALUE")
        arguments[name] = value
    env = environment()
    launcher = "auto" if sourced(env) else "plain"
    folder = Path(tempfile.gettempdir())
    return launch_command(LAUNCH_FILE, arguments, env, folder, launcher), env
