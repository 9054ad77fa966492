# SPDX-License-Identifier: Apache-2.0
"""The shipped model twice: the same bytes, also in another process, and with any threads.

Frames of the shipped recording, with the boxes of its ground truth.
"""

from __future__ import annotations

import csv
import hashlib
import pickle
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from nemo_model.estimator import Estimate, Estimator
from nemo_model.pose import geodesic
from nemo_ros.bags import Bag

IMAGE, INFO = "/camera/image/compressed", "/camera/camera_info"
FRAMES = 6
AGREE_RAD = 1e-5

View = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image, K and box."""


def recorded(repository: Path, count: int = FRAMES) -> list[View]:
    """The clearest car of frames spread over the recording."""
    bag = Bag(repository / "demo" / "recording")
    messages: dict[str, list[Any]] = {IMAGE: [], INFO: []}
    for raw in bag.messages(dict.fromkeys(messages, 0)):
        messages[raw.topic].append(bag.decode(raw))
    K = np.array(messages[INFO][0].k, dtype=np.float64).reshape(3, 3)
    with (repository / "demo" / "ground_truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for frame in np.linspace(0, len(messages[IMAGE]) - 1, count).astype(int):
        cars = [row for row in rows if int(row["frame"]) == frame]
        clear = min(cars, key=lambda row: float(row["hidden"]) + float(row["cut"]))
        data = np.frombuffer(bytes(messages[IMAGE][frame].data), dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
        box = np.array([float(clear[key]) for key in ("x1", "y1", "x2", "y2")])
        found.append((np.ascontiguousarray(image), K, box))
    return found


@pytest.fixture(scope="module")
def views(repository: Path) -> list[View]:
    return recorded(repository)


def digest(found: list[Estimate]) -> str:
    """SHA-256 of all that an estimate says but its times."""
    total = hashlib.sha256()
    for one in found:
        numbers = [one.score, one.energy, one.margin, one.visible_fraction]
        for part in (one.T_cam_obj, one.covariance, one.occlusion, np.array(numbers)):
            total.update(np.ascontiguousarray(part).tobytes())
        total.update(repr(sorted(one.statistics.items())).encode())
    return total.hexdigest()


def estimates(repository: Path, views: list[View], threads: int) -> list[Estimate]:
    """A cold estimate of each view, and a warm one from the view's own cold one."""
    estimator = Estimator.load(repository / "models" / "car", threads=threads)
    found = []
    for image, K, box in views:
        seen = estimator.observe(image, K, box)
        cold = estimator.solve(seen)
        found += [cold, estimator.solve(seen, prior=cold.T_cam_obj)]
    return found


def test_same_input_same_bytes_also_in_another_process(repository: Path, views: list[View]) -> None:
    first = digest(estimates(repository, views, 1))
    assert digest(estimates(repository, views, 1)) == first
    assert elsewhere(repository) == first


def elsewhere(repository: Path, before: str = "") -> str:
    """The digest of another process, which first runs the statement `before`; else what it said."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1] + '/tests')\n"
        f"from test_determinism import *; root = Path(sys.argv[1])\n{before}\n"
        "print(digest(estimates(root, recorded(root), 1)))"
    )
    command = [sys.executable, "-c", program, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize("seed", [0, 2])
def test_the_order_in_which_functions_are_loaded_does_not_matter(
    repository: Path, views: list[View], tmp_path: Path, seed: int
) -> None:
    """See nemo_model.kernel; without forceinline these two orders give other bytes."""
    first = digest(estimates(repository, views, 1))
    path = tmp_path / "loaded"
    path.write_bytes(pickle.dumps(loaded()))
    assert elsewhere(repository, f"load_shuffled(Path({str(path)!r}), {seed})") == first


def loaded() -> list[tuple[str, str, list[Any]]]:
    """Module, name and signatures of the package's functions that this process has compiled."""
    found = []
    for module in [name for name in sys.modules if name.startswith("nemo_model.")]:
        for name, value in vars(sys.modules[module]).items():
            if isinstance(value, Dispatcher) and value.__module__ == module and value.signatures:
                found.append((module, name, list(value.signatures)))
    return sorted(found)


def load_shuffled(path: Path, seed: int) -> None:
    functions = pickle.loads(path.read_bytes())
    random.Random(seed).shuffle(functions)
    for module, name, signatures in functions:
        for signature in signatures:
            getattr(import_module(module), name).compile(signature)


def test_what_came_before_does_not_matter(repository: Path, views: list[View]) -> None:
    """Buffers are used again: an image must not leave anything behind for the next."""
    forwards = estimates(repository, views, 1)
    backwards = estimates(repository, views[::-1], 1)
    for k in range(len(views)):
        there = backwards[2 * (len(views) - 1 - k)]
        np.testing.assert_array_equal(forwards[2 * k].T_cam_obj, there.T_cam_obj)


@pytest.mark.parametrize("threads", [2, 4])
def test_other_threads_the_same_pose(repository: Path, views: list[View], threads: int) -> None:
    one, several = estimates(repository, views, 1), estimates(repository, views, threads)
    for a, b in zip(one, several, strict=True):
        assert geodesic(a.rotation, b.rotation) < AGREE_RAD
        assert np.linalg.norm(a.position - b.position) < AGREE_RAD * np.linalg.norm(a.position)
