# SPDX-License-Identifier: Apache-2.0
"""The objects that a table is reported on: the same ones for every system and training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_model.comparison.config import TableConfig
from nemo_model.comparison.plan import Column, digest
from nemo_model.comparison.store import Store, read_json, write_json
from nemo_model.datasets.common import DatasetError, subset
from nemo_model.datasets.layout import layout
from nemo_model.datasets.occluded import OccludedPascal3D, folder_name, list_path
from nemo_model.datasets.occluded_copy import make_level, one_per_image
from nemo_model.datasets.occluders import photo_paths
from nemo_model.datasets.pascal3d import Pascal3D, Pascal3DObject
from nemo_model.evaluation.samples import Sample, from_pascal3d


@dataclass(frozen=True)
class Part:
    """The objects of one category in one column. digest: of what they are and where they lie."""

    category: str
    column: Column
    samples: tuple[Sample, ...]
    skipped: dict[str, int]
    digest: str


def check(config: TableConfig) -> None:
    """Raise DatasetError, before anything is trained, where data are missing.

    The split that is reported is read, of the one that is trained on the list alone.
    """
    photo_paths([config.backgrounds])
    for category in config.categories:
        layout(config.root, category, config.source).names(config.train_split)
        Pascal3D(config.root, category, config.source, config.split)
        if config.occluded_root is not None:
            for level in [level for level in config.levels if level]:
                path = list_path(config.occluded_root, category, level)
                if config.kind != "unseen" and not path.is_file():
                    raise DatasetError(
                        f"{path}: no such list; --occluded-root must hold every level of every "
                        "category (without it the copies are made)"
                    )


def load_part(config: TableConfig, store: Store, category: str, column: Column) -> Part:
    """The objects of a cell; makes the occluded copy where none is given and none was made.

    With a limit it is drawn among the photos as they are, and the levels keep those images.
    """
    photos = Pascal3D(config.root, category, config.source, config.split, column.views)
    chosen = subset(photos.objects, config.limit, config.limit_seed)
    if not column.level:
        return _part(category, column, chosen, dict(photos.skipped))
    names = {item.name for item in chosen}
    where = config.occluded_root
    if where is None:
        where = occluded_copy(config, store, photos, chosen, column.level)
    copies = OccludedPascal3D(
        config.root, where, category, column.level, config.source, config.split, column.views
    )
    objects = [item for item in copies.objects if item.name in names]
    if not objects:
        raise DatasetError(f"{where}: level {column.level} holds none of the images chosen")
    return _part(category, column, objects, dict(copies.skipped))


def occluded_copy(
    config: TableConfig,
    store: Store,
    photos: Pascal3D,
    chosen: Sequence[Pascal3DObject],
    level: int,
) -> Path:
    """Make a level of the copy below the store, unless it is there and of the same images."""
    out = store.out / "occluded"
    objects = one_per_image(chosen)
    names = [item.name for item in objects]
    folder = config.occluder_photos or config.backgrounds
    pieces = photo_paths([folder])
    note_path = _note_path(store, photos.category, level)
    note: dict[str, Any] = {
        "root": str(config.root.resolve()),
        "source": config.source,
        "split": config.split,
        "seed": config.occlusion_seed,
        "photos": digest([[p.name, p.stat().st_size] for p in pieces]),
    }
    with store.lock(f"occluded-{photos.category}-{level}", wait=True):
        there = read_json(note_path) or {}
        made = set(there.pop("images", ()))
        if there != note or not made.issuperset(names):
            note_path.unlink(missing_ok=True)
            make_level(photos, objects, level, pieces, out, config.occlusion_seed)
            write_json(note_path, note | {"images": names})
    return out


def at_hand(config: TableConfig, store: Store, category: str, column: Column) -> bool:
    """Whether a column's photos are there already, though perhaps of other images or occluders."""
    if not column.level or config.occluded_root is not None:
        return True
    return _note_path(store, category, column.level).is_file()


def _note_path(store: Store, category: str, level: int) -> Path:
    """What a level of the copy was made from; written when it is complete."""
    return store.out / "occluded" / f"{folder_name(category, level)}.json"


def _part(
    category: str, column: Column, objects: Sequence[Pascal3DObject], skipped: dict[str, int]
) -> Part:
    samples = tuple(from_pascal3d(objects))
    total = hashlib.sha256()
    for each in samples:
        size = each.image_path.stat().st_size
        total.update(f"{each.name}\0{each.index}\0{size}\0{each.subtype}\n".encode())
        for array in (each.K, each.box, each.T_cam_obj):
            total.update(array.astype("<f8").tobytes())
    return Part(category, column, samples, skipped, total.hexdigest())
