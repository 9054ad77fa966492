# SPDX-License-Identifier: Apache-2.0
"""From the checkpoint of a family to its folder: one backbone, a bundle per category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nemo_model.bundle import SHARED, Bundle, Card
from nemo_model.errors import NemoError
from nemo_model.family import write_family
from nemo_model.meshes.meshset import MeshSet
from nemo_model.meshes.neural import NeuralSubtype
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.export import backbone_onnx, reader_of, trained
from nemo_model.training.families.config import Family, Member
from nemo_model.training.families.maker import parted
from nemo_model.viewpoint import Reader


def export_family(
    checkpoint: Checkpoint, out: Path, command: str, limits: str = ""
) -> list[Bundle]:
    """Write the bundles of a checkpoint and return them as loaded from there.

    Raises:
        NemoError: when the checkpoint is of one category, or onnxruntime differs from torch.
    """
    if not checkpoint.family:
        raise NemoError("export: the checkpoint is of one category, not of a family")
    family, config = Family.model_validate_json(checkpoint.family), checkpoint.config
    model = trained(checkpoint)
    with torch.no_grad():
        theta, beta = model.bank.theta.numpy(), model.bank.beta.numpy()
    sets = parted(checkpoint.meshes)
    ends = np.cumsum([sum(len(each.mesh.vertices) for each in one.meshes) for one in sets])
    bundles = []
    parts = zip(family.categories, sets, np.split(theta, ends[:-1]), strict=True)
    for place, (each, meshes, rows) in enumerate(parts):
        card = member_card(each, config, f"{out.name}/{each.category}", command, checkpoint.step)
        card = card.model_copy(update={"limits": limits})
        reader = reader_of(model, place)
        bundles.append(bundle_of(out / each.category, card, meshes, rows, beta, reader))
    write_family(bundles, backbone_onnx(model, config.height, config.width))
    return [Bundle.load(bundle.folder) for bundle in bundles]


def member_card(each: Member, config: TrainConfig, name: str, command: str, steps: int) -> Card:
    """The card of a category; config: of the family. Sizes must be known."""
    if each.size is None:
        raise NemoError(f"{each.category}: size: is needed, with length_m, sigma and source")
    own = each.config(config)
    return Card(
        name=name,
        category=each.category,
        width=config.width,
        height=config.height,
        features=config.features,
        backbone=SHARED,
        size=each.size,
        symmetry=own.symmetry,
        data=each.data,
        split=each.split,
        seed=config.seed,
        command=command,
        licence=each.licence,
        mirror=own.augment.flip > 0,
        training=own.model_dump(mode="json") | {"steps_done": steps, "family": config.category},
        sha256={},
    )


def bundle_of(
    folder: Path,
    card: Card,
    meshes: MeshSet,
    rows: npt.NDArray[np.float32],
    clutter: npt.NDArray[np.float32],
    reader: Reader | None = None,
) -> Bundle:
    """The bundle of a category's meshes, their rows (V, C) of the bank and its reader."""
    first, *more = _subtypes(meshes, rows)
    return Bundle(
        folder, card, first.mesh, first.features, clutter, first.outline, first.subtype,
        tuple(more), reader,
    )  # fmt: skip


def _subtypes(meshes: MeshSet, rows: npt.NDArray[np.float32]) -> Sequence[NeuralSubtype]:
    ends = np.cumsum([len(each.mesh.vertices) for each in meshes.meshes])[:-1]
    return [
        NeuralSubtype(each.subtype, each.mesh, np.ascontiguousarray(part), each.outline)
        for each, part in zip(meshes.meshes, np.split(rows, ends), strict=True)
    ]
