# SPDX-License-Identifier: Apache-2.0
"""The process that has Blender: starts cycles_worker.py in another interpreter and hands it jobs.

bpy has wheels for one version of Python each and wants an old numpy, so it is never imported here.
"""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError

Arrays = dict[str, npt.NDArray[Any]]

SCRIPT = Path(__file__).with_name("cycles_worker.py")
HOW = (
    "Cycles comes as the package bpy, which needs a Python of its own:\n"
    "  python3.11 -m venv cycles\n"
    '  cycles/bin/pip install bpy==4.5.15 "numpy<2"\n'
    "then give --cycles-python cycles/bin/python"
)


class Worker:
    """One process. blender: its version.

    Raises:
        NemoError: when the interpreter cannot be run or has no bpy.
    """

    def __init__(self, python: Path, script: Path) -> None:
        self.python = python
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        try:
            # isolated: the script's folder and PYTHONPATH hold modules for this Python
            self._process = subprocess.Popen(
                [str(python), "-I", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._log,
            )  # fmt: skip
        except OSError as error:
            raise NemoError(f"--cycles-python {python}: cannot be run ({error}). {HOW}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        try:
            self.blender = str(self._answer().get("blender", ""))
        except NemoError as error:
            self.close()
            raise NemoError(f"{error}. {HOW}") from error

    def ask(self, job: Arrays) -> Arrays:
        """The result of a job, see cycles_worker.

        Raises:
            NemoError: with the worker's reason, or its last words if it ended.
        """
        data = io.BytesIO()
        np.savez(data, **job)  # type: ignore[arg-type]
        with suppress(OSError):  # it has ended: reading the answer says so
            self._jobs.write(json.dumps({"bytes": data.tell()}).encode() + b"\n")
            self._jobs.write(data.getvalue())
            self._jobs.flush()
        size = int(self._answer()["bytes"])
        with np.load(io.BytesIO(self._answers.read(size)), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    def close(self) -> None:
        """End the process."""
        for pipe in (self._jobs, self._answers):
            with suppress(OSError):
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._log.seek(0)
            words = self._log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise NemoError(
                f"--cycles-python {self.python}: Cycles ended unasked: {' / '.join(words) or '-'}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NemoError(f"--cycles-python {self.python}: {answer['error']}")
        return answer


@lru_cache(maxsize=1)
def worker(python: Path) -> Worker:
    """This process's worker: started once, Blender takes seconds to load."""
    return Worker(python, SCRIPT)


def release() -> None:
    """Forget this process's worker, which ends with its pipes: before processes are forked."""
    worker.cache_clear()
