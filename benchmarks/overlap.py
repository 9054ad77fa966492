# SPDX-License-Identifier: Apache-2.0
"""Two cars in one picture, one half behind the other: right with competition, and without.

    python benchmarks/overlap.py --root ../shared/data/stanford_cars3d

Scenes are composed of pairs of photos of val. Each car is seen by a virtual camera that looks at
its box; this view is turned onto a ray of a common camera, which keeps the car's look and turns its
label with it. The one in front is cut out by its CAD model and laid over the other one, of whose
silhouette it hides 20 to 60 %. Boxes enclose the whole cars. Writes results/overlap.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from nemo_model import Estimator
from nemo_model.camera import Camera, crop_camera
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.evaluation.report import table
from nemo_model.pose import geodesic
from nemo_model.raster import silhouette

RESULTS = Path(__file__).resolve().parent / "results"
K = np.array([[700.0, 0, 639.5], [0, 700.0, 319.5], [0, 0, 1.0]])
SIZE = (1280, 640)
"""Width, height of the common picture."""
VIEW = (384, 256)
"""Width, height of the virtual camera's picture of one car."""
APART_DEG = (3.0, 30.0)
MIDDLE_DEG = 8.0
SMALLEST, LARGER = 8000, 3.0
"""Pixels that each car has at least, and by what factor one may have more than the other."""
HIDDEN = (0.2, 0.6)
TRIES = 40
GROSS_DEG = 30.0


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3), boxes (2, 4) and rotations R_cam_obj (2, 3, 3) of the car in front and
    of the one behind, and the share of the latter that is hidden."""

    image: np.ndarray
    boxes: np.ndarray
    rotations: np.ndarray
    hidden: float


@dataclass(frozen=True)
class Car:
    """A car in the common picture: pixels, where there is photo, where the car is, its pose."""

    image: np.ndarray
    there: np.ndarray
    mask: np.ndarray
    R: np.ndarray

    @property
    def box(self) -> np.ndarray:
        rows, columns = np.nonzero(self.mask)
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)


def turned(photos: Pascal3D, number: int, azimuth_deg: float) -> Car:
    """The car of a photo as the common camera sees it in a direction right (+) or left (-)."""
    item = photos[number]
    image = item.read_image()
    crop = crop_camera(Camera(item.K, image.shape[1], image.shape[0]), item.box, *VIEW)
    T = np.eye(4)
    T[:3] = crop.R_crop_cam @ item.T_cam_obj[:3]
    mask = silhouette(item.shape(photos.cad(item.cad_index)), T, crop.K, *VIEW)
    angle = np.deg2rad(azimuth_deg)
    R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    H = K @ R @ np.linalg.inv(crop.K)
    inside = np.full(image.shape[:2], 255, dtype=np.uint8)
    there = cv2.warpPerspective(inside, H @ crop.H_crop_image, SIZE, flags=cv2.INTER_NEAREST)
    return Car(
        cv2.warpPerspective(image, H @ crop.H_crop_image, SIZE),
        there > 0,
        cv2.warpPerspective(mask.astype(np.uint8), H, SIZE, flags=cv2.INTER_NEAREST) > 0,
        R @ T[:3, :3],
    )


def scenes(photos: Pascal3D, count: int, seed: int) -> Iterator[Scene]:
    """Scene k depends on the seed and k alone."""
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        while True:
            found = _scene(photos, rng)
            if found is not None:
                break
        yield found


def _scene(photos: Pascal3D, rng: np.random.Generator) -> Scene | None:
    front, behind = (int(n) for n in rng.choice(len(photos), 2, replace=False))
    side = float(rng.choice([-1.0, 1.0]))
    back = turned(photos, behind, -side * MIDDLE_DEG)
    for _ in range(TRIES):
        near = turned(photos, front, side * (rng.uniform(*APART_DEG) - MIDDLE_DEG))
        sizes = sorted((int(near.mask.sum()), int(back.mask.sum())))
        if sizes[0] < SMALLEST or sizes[1] > LARGER * sizes[0]:
            return None
        hidden = float((near.mask & back.mask).sum() / back.mask.sum())
        if HIDDEN[0] <= hidden <= HIDDEN[1]:
            image = np.full((SIZE[1], SIZE[0], 3), 128, dtype=np.uint8)
            for car in (near, back):  # the photo's own surroundings, then the cars themselves
                image[car.there] = car.image[car.there]
            for car in (back, near):
                image[car.mask & car.there] = car.image[car.mask & car.there]
            return Scene(image, np.stack([near.box, back.box]), np.stack([near.R, back.R]), hidden)
    return None


def measure(estimator: Estimator, photos: Pascal3D, count: int, seed: int) -> dict[str, Any]:
    """Rotation errors (degrees) of the car in front and of the one behind, alone and together."""
    errors: dict[str, list[list[float]]] = {"alone": [], "together": []}
    shares = []
    for scene in tqdm(scenes(photos, count, seed), total=count, unit="scene", desc="overlap"):
        shares.append(scene.hidden)
        alone = [estimator.estimate(scene.image, K, box) for box in scene.boxes]
        both = estimator.estimate_together(scene.image, K, list(scene.boxes))
        for name, estimates in (("alone", alone), ("together", both)):
            pairs = zip(estimates, scene.rotations, strict=True)
            errors[name].append([float(np.rad2deg(geodesic(e.rotation, R))) for e, R in pairs])
    return {
        "model": {"name": estimator.bundle.card.name, "sha256": estimator.bundle.digest},
        "split": photos.split,
        "scenes": count,
        "seed": seed,
        "hidden_mean": float(np.mean(shares)),
        **{name: _figures(np.array(rows)) for name, rows in errors.items()},
    }


def _figures(errors: np.ndarray) -> dict[str, float]:
    """errors (N, 2): front, behind."""
    right = errors < GROSS_DEG
    return {
        "both_right": float(right.all(axis=1).mean()),
        "front_right": float(right[:, 0].mean()),
        "behind_right": float(right[:, 1].mean()),
        "behind_within_10": float((errors[:, 1] < 10.0).mean()),
        "behind_median_deg": float(np.median(errors[:, 1])),
    }


def markdown(document: dict[str, Any]) -> str:
    """The table, with what it stands on."""
    rows = []
    for name in ("alone", "together"):
        found = document[name]
        shares = ("both_right", "front_right", "behind_right", "behind_within_10")
        rows.append([
            name, *(f"{100 * found[key]:.1f}" for key in shares),
            f"{found['behind_median_deg']:.1f}",
        ])  # fmt: skip
    return "\n\n".join([
        "# Two cars, one half behind the other",
        f"`python benchmarks/overlap.py --root stanford_cars3d`, model {document['model']['name']} "
        f"{document['model']['sha256'][:12]}: {document['scenes']} scenes composed of photos of "
        f"{document['split']}, seed {document['seed']}; "
        f"{100 * document['hidden_mean']:.0f} % of the car behind is hidden in the mean. Share of "
        "rotations below 30 degrees (10 where it says so) in %.",
        table(
            ["boxes", "both right", "front right", "behind right", "behind below 10 deg",
             "behind, median deg"], rows,
        ),
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, help="stanford_cars3d")
    parser.add_argument("--model", type=Path, default=RESULTS.parent.parent / "models" / "car")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="val")
    parser.add_argument("--picture", type=Path, help="write the first scenes as a picture")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.root is None:
        print("overlap: give --root (see --help); nothing measured")
        return 0
    try:
        photos = Pascal3D(args.root, "car", split=args.split)
        if args.picture is not None:
            rows = [scene.image for scene in scenes(photos, 6, args.seed)]
            pairs = [np.hstack(rows[k : k + 2]) for k in range(0, 6, 2)]
            cv2.imwrite(str(args.picture), np.vstack(pairs)[:, :, ::-1])
        document = measure(Estimator.load(args.model), photos, args.scenes, args.seed)
    except NemoError as error:
        print(f"overlap: error: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "overlap.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "overlap.md").write_text(markdown(document) + "\n")
    print(markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
