# SPDX-License-Identifier: Apache-2.0
"""Learn one more category on the frozen backbone of a family, or of a single bundle.

Only the new category's vertex features, and its reading of the context, are learned, against the
clutter prototypes and the vertices of the categories that are there, none of whose files change.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from nemo_model.bundle import BACKBONE, CARD, SHARED, Bundle, write_neural_mesh
from nemo_model.errors import NemoError
from nemo_model.family import members
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.export import reader_in
from nemo_model.training.families.config import Member
from nemo_model.training.families.export import bundle_of, member_card
from nemo_model.training.families.loss import FamilyObjective
from nemo_model.training.families.maker import FamilyMaker
from nemo_model.training.families.start import added_weights
from nemo_model.training.loader import sample_maker
from nemo_model.training.ranks import Ranks
from nemo_model.training.train import Subject, learn
from nemo_model.viewpoint import Reader


def add_category(
    folder: Path,
    member: Member,
    root: Path,
    backgrounds: Path,
    out: Path,
    config: TrainConfig,
    *,
    command: str,
    workers: int = 1,
    threads: int = 1,
    save_every: int = 250,
    resume: bool = False,
) -> Bundle:
    """Train, write folder/CATEGORY and return the bundle as loaded from there.

    Args:
        folder: of the family.
        member: the new category, with its size.
        root: its data.
        backgrounds: folder of photos.
        out: folder for checkpoint and log.
        config: of the run; what the backbone is made for is taken from the family.
        command: for the card.

    Raises:
        BundleError: when a bundle of the family is not intact.
        NemoError: when the category is there, data are missing, or a checkpoint does not fit.
    """
    torch.set_num_threads(threads)
    known = [Bundle.load(one) for one in members(folder)]
    _check_new(folder, member, known)
    card = known[0].card
    made_for = {
        "width": card.width, "height": card.height, "features": card.features,
        "prototypes": len(known[0].clutter), "context": _context(known), "learned": "all",
    }  # fmt: skip
    config = member.config(config).model_copy(update=made_for)
    own, _ = sample_maker(root, backgrounds, config)
    sets = [*(_meshes(bundle) for bundle in known), own.meshes]
    names = "+".join(one.category for one in sets)
    run = config.model_copy(update={"category": names, "source": "family"})
    makers = [*(None for _ in known), own]
    maker = FamilyMaker(sets, makers, [1.0] * len(sets), config.seed)
    configs = [config.model_copy(update={"symmetry": b.card.symmetry}) for b in known]
    rows = slice(int(maker.rows[-2]), int(maker.rows[-1]))
    subject = Subject(maker, partial(FamilyObjective, configs=[*configs, config]), learned=rows)
    path = out / "checkpoint.pt"
    saved = Checkpoint.load(path) if resume and path.exists() else None
    initial = added_weights(folder, maker, run) if saved is None else None
    learn(subject, run, Ranks(), out, workers, save_every, saved, initial)
    done = Checkpoint.load(path)
    theta = torch.nn.functional.normalize(done.average["bank.raw_theta"], dim=1).numpy()[rows]
    written = member_card(
        member, run, f"{folder.name}/{member.category}", command, done.step
    ).model_copy(update={"fill": card.fill})
    clutter, reader = known[0].clutter, _reader(done)
    bundle = bundle_of(folder / member.category, written, own.meshes, theta, clutter, reader)
    write_neural_mesh(bundle)
    return Bundle.load(bundle.folder)


def _context(known: list[Bundle]) -> int:
    """Channels of the family's context; 0 where it has none."""
    readers = [bundle.reader for bundle in known if bundle.reader is not None]
    return readers[0].weight.shape[1] if readers else 0


def _reader(done: Checkpoint) -> Reader | None:
    """The new category's, which is the last."""
    if "readers.weight" not in done.average:
        return None
    return reader_in(done.average, -1)


def _check_new(folder: Path, member: Member, known: list[Bundle]) -> None:
    if member.category in {bundle.card.category for bundle in known}:
        raise NemoError(f"{folder}: has the category '{member.category}' already")
    if (folder / member.category).exists():
        raise NemoError(f"{folder / member.category}: is there already; move it away")
    first = known[0]
    for bundle in known[1:]:
        if not np.array_equal(bundle.clutter, first.clutter):
            raise NemoError(
                f"{bundle.folder}: has other clutter features than {first.folder}; the categories "
                "of a family share them"
            )
    if first.onnx_path.resolve() != (folder / BACKBONE).resolve():
        raise NemoError(f"{first.folder / CARD}: backbone: must be {SHARED} in a family")


def _meshes(bundle: Bundle) -> MeshSet:
    """The meshes of a bundle, as training has them."""
    meshes = tuple(SubtypeMesh(e.subtype, e.mesh, e.outline) for e in bundle.meshes)
    return MeshSet(bundle.card.category, "family", meshes)
