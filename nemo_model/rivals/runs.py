# SPDX-License-Identifier: Apache-2.0
"""From a systems.Run to trained rivals: one network for all categories, or one for each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.rivals.classifier import angle_labels
from nemo_model.rivals.keypoints import KeypointMaps, category_keypoints
from nemo_model.rivals.model import Rival, RivalCard, make_network
from nemo_model.rivals.train import Source, Targets, train_rival
from nemo_model.systems import Run
from nemo_model.training.clock import TRAINING
from nemo_model.training.config import TrainConfig
from nemo_model.training.loader import category_geometry, load_photos, read_images
from nemo_model.training.runs import MODEL, config_of, size_prior
from nemo_model.training.samples import SampleMaker

SHARED = ("res50-general", "starmap")
"""Systems with one network for all categories."""


@dataclass(frozen=True)
class _Category:
    name: str
    config: TrainConfig
    maker: SampleMaker
    targets: Targets


def train_rivals(run: Run, out: Path, workers: int, threads: int) -> Path:
    """Train a rival and return the folder of the model, or of one model per category."""
    categories = [_category(run, name) for name in run.categories]
    groups = [categories] if run.system in SHARED else [[each] for each in categories]
    for group in groups:
        alone = len(groups) == 1
        _train_group(run, group, out if alone else out / group[0].name, out, workers, threads)
    return out / MODEL


def _train_group(
    run: Run, group: Sequence[_Category], folder: Path, out: Path, workers: int, threads: int
) -> None:
    config = group[0].config
    sources = [Source(each.maker, each.targets) for each in group]
    weights = train_rival(run.system, sources, folder, config, workers=workers, threads=threads)
    network = make_network(run.system, config)
    network.load_state_dict(weights)
    for each in group:
        target = out / MODEL if len(run.categories) == 1 else out / MODEL / each.name
        maker = each.maker
        card = RivalCard(
            system=run.system,
            name=run.system,
            category=each.name,
            categories=tuple(other.name for other in group),
            size=size_prior(each.name, maker.mesh),
            lo=tuple(maker.mesh.lo),
            hi=tuple(maker.mesh.hi),
            outline=[tuple(point) for point in maker.outline],
            data=f"{run.root.name}, {run.source}, {run.split}",
            training=config,
            sha256="",
        )
        Rival(target, card, network).save()
        if (folder / TRAINING).is_file():
            shutil.copy(folder / TRAINING, target / TRAINING)


def _category(run: Run, name: str) -> _Category:
    config = config_of(run, name)
    dataset = Pascal3D(run.root, name, run.source, run.split, run.views)
    mesh, outline, cads = category_geometry(dataset, config.vertices)
    objects = list(dataset)
    photos = load_photos(run.backgrounds)
    maker = SampleMaker(objects, read_images(objects), cads, mesh, outline, photos, config)
    if run.system != "starmap":
        return _Category(name, config, maker, angle_labels)
    points = category_keypoints(run.root, run.keypoints, name, cads)
    return _Category(name, config, maker, KeypointMaps(objects, cads, points))
