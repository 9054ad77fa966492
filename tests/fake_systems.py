# SPDX-License-Identifier: Apache-2.0
"""Systems for the tests of nemo table: one of tiny.py's cuboid, and ones that err as told.

A training writes a file; every call is noted, so that a test can tell what was done twice.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from scipy.spatial.transform import Rotation

from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation.samples import Sample, from_pascal3d
from nemo_model.mesh import Mesh
from nemo_model.systems import Run, System


@dataclass
class Calls:
    """What was asked of the systems. fail_at: the training that is cut short, by number."""

    trained: Counter[str] = field(default_factory=Counter)
    steps_taken: list[str] = field(default_factory=list)
    estimates: int = 0
    fail_at: int | None = None
    error: type[BaseException] = KeyboardInterrupt


@dataclass
class Erring:
    """Knows the truth and errs by `error_deg` about the object's z, a little more by the name."""

    truth: list[Sample]
    error_deg: float
    calls: Calls
    mesh: Mesh = field(default_factory=lambda: tiny.mesh(60))
    metres_per_unit: float = tiny.METRES_PER_UNIT
    category: str = "car"

    def estimate(
        self, image: Any, K: Any, box: Any, *, prior: Any = None, given: Any = None
    ) -> Any:
        from types import SimpleNamespace

        assert prior is None
        self.calls.estimates += 1
        sample = next(
            s for s in self.truth if np.array_equal(s.box, box) and np.array_equal(s.K, K)
        )
        extra = 3.0 * (int(sample.name) % 4)
        turn = Rotation.from_rotvec([0, 0, math.radians(self.error_deg + extra)]).as_matrix()
        T = sample.T_cam_obj.copy()
        T[:3, :3] = T[:3, :3] @ turn
        return SimpleNamespace(
            T_cam_obj=T, score=0.75, score_10=0.5, subtype=0, covariance=np.eye(6),
            visible_fraction=0.5, occlusion=None, milliseconds={"total": 6.0},
        )  # fmt: skip


def _train(run: Run, out: Path, calls: Calls) -> Path:
    """Three "steps", each noted in a file; goes on from what is there."""
    progress = out / "progress.txt"
    done = len(progress.read_text()) if progress.is_file() else 0
    calls.trained[run.system] += 1
    for step in range(done, 3):
        if step == 1 and calls.fail_at is not None and sum(calls.trained.values()) == calls.fail_at:
            calls.fail_at = None
            raise calls.error("cut short")
        calls.steps_taken.append(run.system)
        with progress.open("a") as file:
            file.write(".")
    folder = out / "trained"
    folder.mkdir(exist_ok=True)
    text = f"{run.root}\n{run.source}\n{run.seed}\n{run.steps}\n{run.occluders}\n"
    (folder / "weights.txt").write_text(text)
    (folder / "training.json").write_text('{"seconds": 12.0}')
    return folder


def _load(folder: Path, error_deg: float, calls: Calls) -> Erring:
    root, source, seed, _, occluders = (folder / "weights.txt").read_text().split("\n")[:5]
    truth = from_pascal3d(Pascal3D(Path(root), "car", source, "train").objects)
    worse = 0.0 if occluders == "True" else 4.0
    return Erring(truth, error_deg + worse + 2.0 * int(seed), calls)


def erring(name: str, error_deg: float, calls: Calls) -> System:
    """A system that errs by so many degrees, more without occluders and for later seeds."""
    return System(
        name,
        name.title(),
        lambda run, out, workers, threads: _train(run, out, calls),
        lambda folder, threads: _load(folder, error_deg, calls),
    )


def seeing(name: str, calls: Calls) -> System:
    """tiny.py's model, which really looks at the picture and tells what is hidden."""

    def train(run: Run, out: Path, workers: int, threads: int) -> Path:
        folder = _train(run, out, calls)
        return tiny.write(folder / "bundle")

    return System(name, "Tiny NeMo", train, lambda folder, threads: Estimator.load(folder))


def failing(name: str) -> System:
    """A system whose training is refused."""

    def train(run: Run, out: Path, workers: int, threads: int) -> Path:
        raise NemoError("keypoints: none given")

    return System(name, "Failing", train, lambda folder, threads: Erring([], 0.0, Calls()))


def of_another_category(name: str, calls: Calls) -> System:
    """A system that gives a model of buses, whatever it was trained on."""
    base = erring(name, 1.0, calls)

    def load(folder: Path, threads: int) -> Erring:
        return replace(_load(folder, 1.0, calls), category="bus")

    return System(name, "Buses", base.train, load)
