# SPDX-License-Identifier: Apache-2.0
"""Reads a data set into memory and feeds batches from worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from nemo_model.datasets.pascal3d import Pascal3D, Pascal3DObject
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, cuboid, mean_outline
from nemo_model.meshes.meshset import WHOLE, MeshSet
from nemo_model.training.config import TrainConfig
from nemo_model.training.loss import Batch
from nemo_model.training.parts import Parts
from nemo_model.training.ranks import Ranks
from nemo_model.training.samples import Sample, SampleMaker

Array = npt.NDArray[np.float64]
PHOTO_SIDE = 400
"""Background photos are shrunk to this many pixels on their longer side."""


def load_photos(folder: Path, quiet: bool = False) -> list[npt.NDArray[np.uint8]]:
    """Read every photo below a folder, RGB.

    Raises:
        NemoError: when there is none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    photos: list[npt.NDArray[np.uint8]] = []
    for path in tqdm(paths, desc="backgrounds", leave=False, disable=quiet):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        scale = PHOTO_SIDE / max(image.shape[:2])
        if scale < 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        photos.append(np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8))
    if not photos:
        raise NemoError(f"{folder}: holds no .jpg or .png photos for backgrounds and occluders")
    return photos


def category_geometry(dataset: Pascal3D, vertices: int) -> tuple[Mesh, Array, dict[int, Mesh]]:
    """Return the category's cuboid, its outline (P, 3) and the CAD meshes by index.

    The cuboid has the mean extents of the CAD models as often as the photos use them, mirrored
    left to right, since mirrored photos are trained on.
    """
    used = [item.cad_index for item in dataset if item.cad_index > 0]
    cads = {index: dataset.cad(index) for index in sorted(set(used))}
    if not cads:
        raise NemoError(f"{dataset.root}: no object names a CAD model (cad_index)")
    outlines = {index: mean_outline([mesh]) for index, mesh in cads.items()}
    outline = np.mean([outlines[index] for index in used], axis=0)
    outline = np.concatenate([outline, outline * [-1.0, 1.0, 1.0]])
    lo = np.mean([cads[index].lo for index in used], axis=0)
    hi = np.mean([cads[index].hi for index in used], axis=0)
    lo[0], hi[0] = min(lo[0], -hi[0]), max(hi[0], -lo[0])
    return cuboid(lo, hi, vertices), outline, cads


def sample_maker(
    root: Path,
    backgrounds: Path,
    config: TrainConfig,
    meshes: MeshSet | None = None,
    quiet: bool = False,
    photos: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> tuple[SampleMaker, Array]:
    """Read data and return the maker of samples and the category's outline (P, 3).

    Args:
        meshes: one per sub-type, each for the photos annotated with it, and left out where there
            is none; by default one cuboid.
        quiet: without progress.
        photos: those of `backgrounds`, where they were read before.

    Raises:
        NemoError: when data are missing, or no photo shows one of the meshes.
    """
    dataset = Pascal3D(root, config.category, config.source, config.split, config.views)
    mesh, outline, cads = category_geometry(dataset, config.vertices)
    objects, parts = _trained_on(dataset, config), None
    if meshes is not None:
        objects, shown = with_mesh(objects, meshes, quiet)
        parts = Parts(shown)
    images = read_images(objects, quiet)
    if photos is None:
        photos = load_photos(backgrounds, quiet)
    return SampleMaker(objects, images, cads, mesh, outline, photos, config, parts), outline


def read_images(
    objects: Sequence[Pascal3DObject], quiet: bool = False
) -> list[npt.NDArray[np.uint8]]:
    """The images of all objects, several read at a time. Raises DatasetError."""
    with ThreadPoolExecutor() as pool:
        read = pool.map(Pascal3DObject.read_image, objects)
        return list(tqdm(read, "photos", len(objects), leave=False, disable=quiet))


def with_mesh(
    objects: list[Pascal3DObject], meshes: MeshSet, quiet: bool = False
) -> tuple[list[Pascal3DObject], MeshSet]:
    """The objects whose sub-type has a mesh, and the meshes that they show; the rest is told.

    Raises:
        NemoError: when none is left, or objects are stretched and the meshes of single models.
    """
    numbers = {each.subtype for each in meshes.meshes}
    if numbers != {WHOLE} and any(item.stretch is not None for item in objects):
        raise NemoError(
            "meshes: one per sub-type, but the pictures show stretched models (nemo synth render "
            "--stretched), which none of them is the shape of; train on one cuboid"
        )
    kept = [item for item in objects if WHOLE in numbers or item.cad_index in numbers]
    if not kept:
        raise NemoError(
            f"meshes: of sub-types {', '.join(map(str, sorted(numbers)))}, but no photo is "
            "annotated with one of them (cad_index); make them from this data set's CAD models"
        )
    if len(kept) < len(objects) and not quiet:
        tqdm.write(f"{len(objects) - len(kept)} of {len(objects)} photos show none of the meshes")
    used = {meshes.of(item.cad_index).subtype for item in kept}
    unused = sorted(numbers - used)
    if unused and not quiet:
        tqdm.write(f"no photo shows sub-type {', '.join(map(str, unused))}: left out")
    shown = tuple(each for each in meshes.meshes if each.subtype in used)
    return kept, MeshSet(meshes.category, meshes.kind, shown)


def _trained_on(dataset: Pascal3D, config: TrainConfig) -> list[Pascal3DObject]:
    """The objects less those of photos that the run leaves out. Raises NemoError."""
    unknown = set(config.left_out) - {item.name for item in dataset}
    if unknown:
        raise NemoError(
            f"photos to leave out: {sorted(unknown)[0]} and {len(unknown) - 1} more are not in "
            f"{config.source}/{config.split}"
        )
    objects = [item for item in dataset if item.name not in set(config.left_out)]
    if not objects:
        raise NemoError("photos to leave out: all of them are, nothing is left to train on")
    return objects


class Maker(Protocol):
    """What makes sample i of a run, and the meshes that its samples show."""

    @property
    def meshes(self) -> MeshSet: ...

    def __call__(self, index: int) -> Sample: ...


class _Samples(Dataset[Sample]):
    def __init__(self, maker: Maker) -> None:
        self.maker = maker

    def __getitem__(self, index: int) -> Sample:
        return self.maker(index)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch of tensors."""
    stacked = {
        f.name: torch.from_numpy(np.stack([getattr(s, f.name) for s in samples]))
        for f in fields(Batch)
    }
    return Batch(**stacked)


def quiet_worker(_: int) -> None:
    """Keep a loader process to one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def batches(
    maker: Maker, config: TrainConfig, start: int, workers: int, ranks: Ranks | None = None
) -> Iterator[Batch]:
    """Yield the batches of steps start .. config.steps; of several processes, this one's part."""
    own = (ranks or Ranks()).own
    yield from DataLoader(
        _Samples(maker),
        batch_sampler=[list(own(step, config.batch)) for step in range(start, config.steps)],
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=quiet_worker,
        prefetch_factor=3 if workers else None,
    )
