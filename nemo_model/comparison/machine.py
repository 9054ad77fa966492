# SPDX-License-Identifier: Apache-2.0
"""On what a figure was made: processor, cores, GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any


def facts(threads: int) -> dict[str, Any]:
    """Processor, cores that this process may use, threads asked for, GPUs by name."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return {"processor": _processor(), "cores": cores, "threads": threads, "gpus": _gpus()}


def words(machine: dict[str, Any]) -> str:
    """The facts in a line."""
    gpus = machine.get("gpus") or []
    gpu = ", ".join(gpus) if gpus else "no GPU"
    return (
        f"{machine.get('processor', 'unknown')}, {machine.get('cores', '?')} core(s), "
        f"{machine.get('threads', '?')} thread(s), {gpu}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()


def _gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver shows; torch is not asked, it may be absent."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]
