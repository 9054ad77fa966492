# SPDX-License-Identifier: Apache-2.0
"""A node that cannot be made says why in one line and exits non-zero."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from nemo_ros.node import main; sys.exit(main(sys.argv))"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/**:\n  ros__parameters:\n    boxes: half\n", "boxes is 'half', it must be one of"),
        (None, "Couldn't parse params file"),
    ],
)
def test_a_wrong_parameter_file(
    text: str | None, message: str, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--ros-args", "--params-file", str(path)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **ros_environment},
    )  # fmt: skip
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
