# SPDX-License-Identifier: Apache-2.0
"""From a systems.Run to trained bundles: the settings of each kind of NeMo, training, export."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nemo_model.bundle import Bundle, Card, SizePrior
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.systems import Run
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.clock import TRAINING
from nemo_model.training.config import WITHOUT_OCCLUDERS, TrainConfig, make_config
from nemo_model.training.export import export
from nemo_model.training.kinds import category_meshes
from nemo_model.training.train import train

MODEL = "model"
"""Folder of the trained model below a run's."""
BACKBONES = ("lite0",)

PLAIN: dict[str, Any] = {"context": 0, "silhouettes": False}
"""The paper's method: without the viewpoint prior, all that the mesh covers being the object."""
KINDS: dict[str, dict[str, Any]] = {
    "nemo": PLAIN,
    "nemo-silhouettes": {"context": 0},
    "nemo-viewpoint": {},
    "nemo-no-contrast": PLAIN | {"contrast": False, "pose_weight": 0.0},
    "nemo-no-clutter": PLAIN | {"prototypes": 0, "clutter_weight": 0.0},
    "nemo-no-pose-term": PLAIN | {"pose_weight": 0.0},
    "nemo-multi-cuboid": PLAIN,
    "nemo-cad": PLAIN,
}
"""What each kind of NeMo changes in TrainConfig."""
MESHES = {"nemo-multi-cuboid": "multi-cuboid", "nemo-cad": "cad"}
"""Kinds with a mesh per CAD model, as nemo make-mesh makes them; the others have one cuboid."""

_CAR = SizePrior(length_m=4.5, sigma=0.08, source="assumed: passenger cars are 4.1 to 4.9 m long")


def size_prior(category: str, mesh: Mesh) -> SizePrior:
    """The category's length; one metre per object unit where none is known."""
    if category == "car":
        return _CAR
    length = float(mesh.extent[1])
    return SizePrior(length_m=length, sigma=0.5, source="none: an object unit counts as a metre")


def config_of(run: Run, category: str, **changes: Any) -> TrainConfig:
    """The TrainConfig of a run for one category.

    The warm-up is a tenth of short runs. Raises NemoError for a backbone or a setting that is not
    known.
    """
    if run.backbone not in BACKBONES:
        raise NemoError(f"backbone '{run.backbone}' is not known; there is {', '.join(BACKBONES)}")
    values: dict[str, Any] = {
        "category": category, "source": run.source, "split": run.split, "views": run.views,
        "seed": run.seed, "steps": run.steps, "batch": run.batch,
        "warmup": min(200, max(run.steps // 10, 1)),
    }  # fmt: skip
    if not run.occluders:
        values["augment"] = dict(WITHOUT_OCCLUDERS)
    return make_config(values | changes, run.settings)


def train_bundles(run: Run, out: Path, workers: int, threads: int) -> Path:
    """Train one NeMo per category, export it and return the folder of the model(s)."""
    if len(run.categories) == 1:
        return _train_bundle(run, run.categories[0], out, out / MODEL, workers, threads)
    for category in run.categories:
        target = out / MODEL / category
        _train_bundle(run, category, out / category, target, workers, threads)
    return out / MODEL


def _train_bundle(
    run: Run, category: str, out: Path, target: Path, workers: int, threads: int
) -> Path:
    config = config_of(run, category, **KINDS[run.system])
    meshes = None
    if run.system in MESHES:
        meshes = category_meshes(run.root, config, MESHES[run.system])
        meshes.save(out / "meshes.npz")
    path = train(
        run.root, run.backgrounds, out, config, workers=workers, threads=threads, resume=True,
        meshes=meshes,
    )  # fmt: skip
    _export(Checkpoint.load(path), run, category, target)
    if (out / TRAINING).is_file():
        shutil.copy(out / TRAINING, target / TRAINING)
    return target


def _export(checkpoint: Checkpoint, run: Run, category: str, target: Path) -> Bundle:
    config = checkpoint.config
    card = Card(
        name=run.system,
        category=category,
        width=config.width,
        height=config.height,
        features=config.features,
        size=size_prior(category, checkpoint.mesh),
        data=f"{run.root.name}, {run.source}, {category}",
        split=run.split,
        seed=run.seed,
        command=f"nemo train --system {run.system}",
        licence="the data's; the weights are no freer than they are",
        mirror=config.augment.flip > 0 and run.system != "nemo-cad",
        training=config.model_dump() | {"steps_done": checkpoint.step, "system": run.system},
        sha256={},
    )
    return export(checkpoint, card, target)
