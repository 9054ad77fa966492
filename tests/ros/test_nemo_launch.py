# SPDX-License-Identifier: Apache-2.0
"""`nemo launch`: the launch file in the foreground, ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemo_model.errors import NemoError
from nemo_ros.commands.launch import plan


def test_an_argument_of_another_form_is_refused() -> None:
    with pytest.raises(NemoError, match="'image=/x' is not of the form NAME:=VALUE"):
        plan(["image=/x"])


def test_it_starts_the_node_and_ends_with_it(
    ros_environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    script = "import sys; from nemo_model.cli import main; sys.exit(main())"
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "launch", "namespace:=foreground"],
            env={**os.environ, **ros_environment, "PYTHONUNBUFFERED": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90.0
        while "pose_node]: active" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.wait(20.0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5.0)
    assert "foreground.pose_node" in log.read_text()
