# SPDX-License-Identifier: Apache-2.0
"""Train one of the paper's kinds of meshes from a data set's CAD models, up to the bundle."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from nemo_model.bundle import Card, SizePrior
from nemo_model.datasets.cad import load_cads
from nemo_model.datasets.layout import layout
from nemo_model.mesh import Mesh
from nemo_model.meshes.make import make_meshes
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.training.config import TrainConfig
from nemo_model.training.export import export
from nemo_model.training.ranks import first
from nemo_model.training.start import bundle_weights
from nemo_model.training.train import Checkpoint, train


def train_kind(
    kind: str,
    root: Path,
    backgrounds: Path,
    out: Path,
    config: TrainConfig,
    *,
    workers: int = 1,
    threads: int = 1,
    size: SizePrior | None = None,
    start: Path | None = None,
) -> Path:
    """Make the meshes, train them, export them; go on where a run in `out` was interrupted.

    Args:
        kind: "single-cuboid", "multi-cuboid" or "cad" (see nemo make-mesh).
        root: data set in PASCAL3D+'s layout, with the category's CAD models.
        backgrounds: folder of photos.
        out: for meshes.npz, checkpoint and log.
        config: of the run; `vertices` is the number of each mesh.
        size: of the objects; by default metres are object units.
        start: bundle to start from, in place of ImageNet's weights.

    Returns:
        The bundle's folder, out/model. Its card has training.kind and training.seconds.

    Raises:
        NemoError: for an unknown kind, missing data, or a run in `out` that does not fit.
    """
    meshes = category_meshes(root, config, kind)
    if first():
        meshes.save(out / "meshes.npz")
    spent, began = out / "seconds.json", time.perf_counter()
    before = json.loads(spent.read_text()) if spent.is_file() else 0.0
    path = train(
        root, backgrounds, out, config, workers=workers, threads=threads, resume=True,
        meshes=meshes, initial=None if start is None else bundle_weights(start, meshes),
    )  # fmt: skip
    if not first():
        return out / "model"
    seconds = before + time.perf_counter() - began
    spent.write_text(json.dumps(round(seconds, 1)) + "\n")
    checkpoint = Checkpoint.load(path)
    extra = {"kind": kind, "seconds": round(seconds, 1)}
    export(checkpoint, _card(checkpoint, root, size, extra), out / "model")
    return out / "model"


def category_meshes(root: Path, config: TrainConfig, kind: str) -> MeshSet:
    """The meshes of a kind from the CAD models of a data set, as nemo make-mesh writes them."""
    where = layout(root, config.category, config.source)
    cads = load_cads(root, config.category, where.cads)
    made = make_meshes(cads, config.category, kind, config.vertices)
    return MeshSet(made.category, made.kind, tuple(_rounded(each) for each in made.meshes))


def _rounded(each: SubtypeMesh) -> SubtypeMesh:
    """With the precision of the file."""
    mesh = Mesh(each.mesh.vertices.astype(np.float32), each.mesh.faces)
    return SubtypeMesh(each.subtype, mesh, each.outline.astype(np.float32).astype(np.float64))


def _card(
    checkpoint: Checkpoint, root: Path, size: SizePrior | None, extra: dict[str, object]
) -> Card:
    config = checkpoint.config
    length = float(np.mean([each.mesh.extent[1] for each in checkpoint.meshes.meshes]))
    unit = SizePrior(length_m=length, sigma=0.0, source="none: metres are object units")
    return Card(
        name=f"{config.category}-{extra['kind']}",
        category=config.category,
        width=config.width,
        height=config.height,
        features=config.features,
        size=size or unit,
        data=f"{root.name}, {config.category}_{config.source}",
        split=config.split,
        seed=config.seed,
        command=f"nemo train --meshes {extra['kind']}.npz",
        licence="that of the data it was trained on",
        training=config.model_dump() | {"steps_done": checkpoint.step} | extra,
        sha256={},
    )
