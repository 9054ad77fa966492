# SPDX-License-Identifier: Apache-2.0
"""Train one backbone and the neural meshes of several categories, resumable at every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from nemo_model.errors import NemoError
from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.families.config import Family, also_of, root_of
from nemo_model.training.families.loss import FamilyObjective
from nemo_model.training.families.maker import FamilyMaker
from nemo_model.training.families.start import family_weights
from nemo_model.training.loader import load_photos
from nemo_model.training.mixed import maker_of
from nemo_model.training.ranks import joined
from nemo_model.training.train import Subject, check_share, learn


def family_maker(
    family: Family,
    roots: Mapping[str, Path],
    backgrounds: Path,
    config: TrainConfig,
    quiet: bool = False,
) -> FamilyMaker:
    """Read the data of all categories. Raises NemoError when some are missing."""
    folders = [(root_of(each, roots), also_of(each, roots)) for each in family.categories]
    photos = load_photos(backgrounds, quiet)
    makers = []
    for each, (root, also) in zip(family.categories, folders, strict=True):
        meshes = None if each.meshes is None else MeshSet.load(each.meshes)
        if meshes is not None and meshes.category != each.category:
            raise NemoError(f"{each.meshes}: meshes of '{meshes.category}', not '{each.category}'")
        makers.append(maker_of(root, also, backgrounds, each.config(config), meshes, quiet, photos))
    weights = [each.weight for each in family.categories]
    return FamilyMaker([maker.meshes for maker in makers], makers, weights, config.seed)


def train_family(
    family: Family,
    roots: Mapping[str, Path],
    backgrounds: Path,
    out: Path,
    config: TrainConfig,
    *,
    workers: int = 1,
    threads: int = 1,
    save_every: int = 250,
    resume: bool = False,
    start: Path | None = None,
) -> Path:
    """Train and return the path of the last checkpoint, out/checkpoint.pt.

    Args:
        roots: folders of the data by the names that the family uses.
        start: bundle or family to go on from; by default ImageNet's weights.

    Raises:
        NemoError: when data are missing, or a checkpoint or weights to start from do not fit.
    """
    torch.set_num_threads(threads)
    path = out / "checkpoint.pt"
    config = config.model_copy(update={"category": family.name, "source": "family"})
    with joined() as ranks:
        check_share(config, ranks)
        saved = Checkpoint.load(path) if resume and ranks.first and path.exists() else None
        if saved is not None and not saved.family:
            raise NemoError(f"{path}: is of one category, not of a family; choose another --out")
        maker = family_maker(family, roots, backgrounds, config, quiet=not ranks.first)
        saved, initial = ranks.told(saved), None
        configs = [each.config(config) for each in family.categories]
        if saved is None:
            symmetries = [each.symmetry for each in configs]
            initial = family_weights(start, maker, config, symmetries)
        subject = Subject(
            maker, partial(FamilyObjective, configs=configs), family.model_dump_json()
        )
        learn(subject, config, ranks, out, workers, save_every, saved, initial)
    return path
