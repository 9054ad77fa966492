# SPDX-License-Identifier: Apache-2.0
"""Sequences made: pictures (kept on disk), ground truth, and what a detector would say.

The same name and seed give the same frames, boxes and stamps.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.sequences import scene, timelines
from nemo_model.sequences.assets import ASSETS, unpack
from nemo_model.sequences.timelines import BLOCKS, SCRIPTS, TIMELINES, Detector, Timeline

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

CATEGORY = "car"
START_NS = 1_700_000_000_000_000_000
VERSION = 1  # of the pictures; part of the cache's key
NOISE = 1.5
"""Sensor noise, standard deviation in grey levels."""


@dataclass(frozen=True)
class Truth:
    """What is true of one car in one frame.

    Attributes:
        id: of the car.
        T_cam_obj: (4, 4), metres; object frame z up, front at -y, origin at the box's centre.
        size: (3,) extents, metres.
        box: (4,) amodal, pixels, not cut at the image's edge.
        hidden: share in [0, 1] of what lies inside the image that something covers.
        inside: share in [0, 1] of the box that lies inside the image.
    """

    id: str
    T_cam_obj: Array
    size: Array
    box: Array
    hidden: float
    inside: float


@dataclass(frozen=True)
class Found:
    """What the detector said of the image of a stamp."""

    stamp_ns: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Step:
    """A frame: its image (h, w, 3) uint8 RGB, its truth, and what the detector says meanwhile.

    `arrived` holds this frame's own boxes, or those of an earlier one when they come late, or
    nothing.
    """

    stamp_ns: int
    image: Image
    truths: tuple[Truth, ...]
    arrived: tuple[Found, ...]


@dataclass(frozen=True)
class Recording:
    """A whole sequence."""

    timeline: Timeline
    camera: Camera
    steps: tuple[Step, ...]


def build(name: str, package: Path, cache: Path, seed: int = 0, frames: int = 0) -> Recording:
    """Render a sequence, or take its pictures from the cache.

    Args:
        name: one of timelines.TIMELINES.
        package: where `dpkg -x sweethome3d-furniture_*.deb` put the package.
        cache: folder for unpacked models and pictures; made when it is not there.
        seed: of the street, the shaking, the noise and the boxes.
        frames: the first so many; 0: all.

    Raises:
        NemoError: for an unknown name, or without the package.
    """
    if name not in TIMELINES:
        raise NemoError(f"sequence {name!r} is not known; there are {', '.join(TIMELINES)}")
    line = TIMELINES[name]
    camera = Camera(timelines.intrinsics(), timelines.WIDTH, timelines.HEIGHT)
    pictures, truths = _pictures(line.scene, package, cache, seed, frames or timelines.FRAMES)
    stamps = [START_NS + round(1e9 * k / timelines.RATE_HZ) for k in range(len(pictures))]
    rng = np.random.default_rng((seed, *line.name.encode()))
    found = [
        Found(stamp, detect(now, line.detector, camera, rng))
        for stamp, now in zip(stamps, truths, strict=True)
    ]
    late = line.detector.late
    arrived: list[tuple[Found, ...]] = [
        (found[k - late],) if k >= late else () for k in range(len(found))
    ]
    steps = zip(stamps, pictures, truths, arrived, strict=True)
    return Recording(line, camera, tuple(Step(*step) for step in steps))


def detect(
    truths: Sequence[Truth], detector: Detector, camera: Camera, rng: np.random.Generator
) -> tuple[Detection, ...]:
    """Amodal boxes as a detector gives them: jittered, cut at the image's edge, without ids."""
    found = []
    for truth in truths:
        noise, luck = rng.normal(0.0, 1.0, 4), rng.random()
        if truth.hidden > detector.hidden or truth.inside < 0.3 or luck < detector.dropped:
            continue
        size = np.tile(truth.box[2:] - truth.box[:2], 2)
        box = truth.box + detector.jitter * size * noise
        box[[0, 2]] = np.clip(box[[0, 2]], 0.0, camera.width - 1.0)
        box[[1, 3]] = np.clip(box[[1, 3]], 0.0, camera.height - 1.0)
        x1, y1, x2, y2 = (round(float(v), 2) for v in box)
        found.append(Detection((x1, y1, x2, y2), CATEGORY, 0.9))
    return tuple(found)


def _pictures(
    name: str, package: Path, cache: Path, seed: int, frames: int
) -> tuple[list[Image], list[tuple[Truth, ...]]]:
    key = hashlib.sha256(f"{name} {seed} {VERSION}".encode()).hexdigest()[:12]
    folder = cache / f"{name}-{key}"
    files = [folder / f"{k:04d}.png" for k in range(frames)]
    notes = [folder / f"{k:04d}.npz" for k in range(frames)]
    missing = [k for k in range(frames) if not (files[k].is_file() and notes[k].is_file())]
    if missing:
        _render(name, package, cache, seed, missing, files, notes)
    return [_read(path) for path in files], [_truths(path) for path in notes]


def _render(
    name: str, package: Path, cache: Path, seed: int, missing: list[int],
    files: list[Path], notes: list[Path],
) -> None:  # fmt: skip
    files[0].parent.mkdir(parents=True, exist_ok=True)
    try:
        paths = unpack(package, cache / "models")
    except FileNotFoundError as error:
        raise NemoError(str(error)) from error
    script, rng = SCRIPTS[name], np.random.default_rng((seed, *name.encode()))
    shakes = rng.normal(0.0, 1.0, (timelines.FRAMES, 6))
    models: dict[str, scene.Model] = {}
    K, size = timelines.intrinsics(), (timelines.WIDTH, timelines.HEIGHT)
    for k in missing:
        moment = script(k / (timelines.FRAMES - 1), shakes[k % timelines.FRAMES])
        for spot in moment.cars:
            if spot.model not in models:
                asset = ASSETS[spot.model]
                models[spot.model] = scene.load_model(paths[spot.model], spot.model, asset.length)
        placed = [scene.standing(models[s.model], s.xy, s.yaw) for s in moment.cars]
        view = scene.render(placed, BLOCKS.get(name, ()), moment.T_cam_world, K, size, 7 + seed)
        grain = np.random.default_rng((seed, k)).normal(0.0, NOISE, view.image.shape)
        image = np.clip(view.image + grain, 0, 255).astype(np.uint8)
        poses = np.array([moment.T_cam_world @ one.T_world_obj for one in placed])
        _write(notes[k], lambda path, v=view, p=poses, m=moment, c=placed: np.savez(
            path, ids=np.array([s.id for s in m.cars]), poses=p, boxes=v.boxes, hidden=v.hidden,
            inside=v.inside, sizes=np.array([one.model.size for one in c])))  # fmt: skip
        _write(files[k], lambda path, i=image: cv2.imwrite(str(path), i[:, :, ::-1]))


def _write(path: Path, save: object) -> None:
    """A stopped run must not leave half a file."""
    partial = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    save(partial)  # type: ignore[operator]
    os.replace(partial, path)


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise NemoError(f"{path}: cannot be read; delete it, it is made again")
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def _truths(path: Path) -> tuple[Truth, ...]:
    with np.load(path, allow_pickle=False) as data:
        return tuple(
            Truth(str(name), pose, size, box, float(hidden), float(inside))
            for name, pose, size, box, hidden, inside in zip(
                data["ids"], data["poses"], data["sizes"], data["boxes"], data["hidden"],
                data["inside"], strict=True,
            )
        )  # fmt: skip
