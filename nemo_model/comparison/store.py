# SPDX-License-Identifier: Apache-2.0
"""The folder of a comparison: trained models, results, and which of them still hold.

OUT/runs/KEY/run.json, trained.json, model/  one training; trained.json is written when it is done
OUT/evaluations/KEY/*.json                   one evaluation each, with the error of every object
OUT/occluded/                                occluded copies, where none were given
OUT/KIND/                                    config, tables, plots, page
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_model.comparison.plan import Evaluation, digest, key, plain
from nemo_model.errors import NemoError
from nemo_model.systems import Run

RECORD = "training.json"
"""What a system may leave beside its model: seconds of training. No part of the model."""
FORMAT = 1
"""Of the result files; others are made again."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    digest: SHA-256 over the files of `folder`. seconds: of the training. machine: that it ran on.
    """

    folder: Path
    digest: str
    seconds: float
    machine: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """Reads and writes what a comparison leaves in its folder."""

    out: Path

    def run_folder(self, run: Run) -> Path:
        return self.out / "runs" / key(run)

    def trained(self, run: Run) -> Trained | None:
        """The finished training of a run; None where there is none or its files were changed."""
        folder = self.run_folder(run)
        note = read_json(folder / "trained.json")
        if note is None or note.get("run") != plain(run):
            return None
        model = folder / str(note.get("folder", ""))
        if not model.is_dir() or folder_digest(model) != note.get("digest"):
            return None
        return Trained(model, note["digest"], float(note["seconds"]), note.get("machine", {}))

    def begin(self, run: Run) -> Path:
        """Write down which run a folder is of; return the folder that the training may use."""
        folder = self.run_folder(run)
        write_json(folder / "run.json", plain(run))
        model = folder / "model"
        model.mkdir(exist_ok=True)
        return model

    def finish(self, run: Run, model: Path, seconds: float, machine: dict[str, Any]) -> Trained:
        """Write down that a training is done. Raises NemoError for a model outside its folder."""
        folder = self.run_folder(run)
        model = model if model.is_dir() else model.parent
        if not model.resolve().is_relative_to(folder.resolve()):
            raise NemoError(f"{run.system}: left its model in {model}, not below {folder}")
        found = Trained(model, folder_digest(model), seconds, machine)
        inside = model.resolve().relative_to(folder.resolve())
        note = {"run": plain(run), "folder": inside.as_posix(), "digest": found.digest,
                "seconds": seconds, "machine": machine}  # fmt: skip
        write_json(folder / "trained.json", note)
        return found

    def result_path(self, evaluation: Evaluation, asked: dict[str, Any]) -> Path:
        what = {name: value for name, value in asked.items() if name != "model"}
        name = (
            f"{evaluation.category}-{evaluation.column.name}-{evaluation.protocol}-"
            f"{digest(what)[:8]}.json"
        )
        return self.out / "evaluations" / key(evaluation.run) / name

    def result(self, evaluation: Evaluation, asked: dict[str, Any]) -> dict[str, Any] | None:
        """A stored result; None where there is none, or one of another model or other data."""
        found = read_json(self.result_path(evaluation, asked))
        return found if found is not None and found.get("asked") == asked else None

    def write_result(
        self, evaluation: Evaluation, asked: dict[str, Any], document: dict[str, Any]
    ) -> dict[str, Any]:
        content = {"asked": asked, **document}
        write_json(self.result_path(evaluation, asked), content)
        return content

    @contextmanager
    def lock(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Hold a part of the folder against other processes; gives False where one holds it.

        The lock ends with the process, however it ends.
        """
        path = self.out / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder but for the RECORDs."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RECORD):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where the file is missing or is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
