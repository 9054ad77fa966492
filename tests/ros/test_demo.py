# SPDX-License-Identifier: Apache-2.0
"""`make demo` as a user runs it: a process of its own, the launched node, real DDS."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.ros
@pytest.mark.slow
def test_the_demo_scores_films_and_reports(
    ros_environment: dict[str, str], model: Path, repository: Path, tmp_path: Path
) -> None:
    """Live poses are those of the replay to the bit, and the sanity bounds hold."""
    ended = subprocess.run(
        [sys.executable, "-m", "nemo_ros.demo", "--out", str(tmp_path), "--no-browser"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    same = re.findall(r"the same (\d+) poses as `nemo replay`", ended.stdout)
    assert len(same) == 2, ended.stdout
    assert int(same[0]) >= 0.2 * 240
    assert int(same[1]) >= 0.2 * 360
    for name in ("car", "household"):
        page = (tmp_path / name / "report.html").read_text(encoding="utf-8")
        assert "live over DDS" in page
        assert "http://" not in page.replace("http://www.w3.org", "")  # self-contained
        assert (tmp_path / name / "demo.webp").stat().st_size > 100_000
    rows = ended.stdout[ended.stdout.index("by category") :]
    assert re.findall(r"^(\w+) +\d+ +\d+ +\d+ %", rows, re.M) == [
        "car", "sofa", "diningtable", "chair"
    ]  # fmt: skip
    assert not re.search(r"Traceback", ended.stderr)


@pytest.mark.ros
def test_a_recording_that_is_not_there_is_told(
    ros_environment: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "nemo_ros.demo", "--bag", str(tmp_path / "none"), "--no-browser"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "none: does not exist" in ended.stderr
    assert "Traceback" not in ended.stderr
