# SPDX-License-Identifier: Apache-2.0
"""Models that have been read once, kept in the cache: reading text takes a second, this none."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path

import numpy as np

from nemo_model.synth.catalogue import Entry
from nemo_model.synth.materials import Textures
from nemo_model.synth.model import Model, load_model
from nemo_model.synth.packages import locate

VERSION = 1  # of what is kept


@lru_cache(maxsize=48)
def stored_model(entry: Entry, cache: Path) -> Model:
    """The model of an entry, from the cache or else from its package.

    Raises:
        NemoError: when the package or the file is missing or damaged.
    """
    path, root = locate(entry, cache)
    key = hashlib.sha256(repr((VERSION, astuple(entry))).encode()).hexdigest()[:16]
    kept = cache / "read" / f"{entry.name}-{key}.npz"
    if kept.is_file():
        try:
            return _load(kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            kept.unlink()  # half written by a stopped run
    model = load_model(path, entry.up, entry.front, entry.left_out, root)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f"{kept.stem}.{os.getpid()}.part.npz")
    np.savez(
        partial, points=model.points.astype(np.float32), normals=model.normals.astype(np.float32),
        uv=model.uv.astype(np.float32), material=model.material, table=model.table,
        pixels=model.textures.pixels, shapes=model.textures.shapes, clear=model.clear,
        hull=model.hull,
    )  # fmt: skip
    os.replace(partial, kept)
    return _load(kept)


def _load(path: Path) -> Model:
    with np.load(path, allow_pickle=False) as data:
        points, normals, uv = (data[k].astype(np.float64) for k in ("points", "normals", "uv"))
        return Model(
            points, normals, uv, data["material"], data["table"],
            Textures(data["pixels"], data["shapes"]), data["clear"], data["hull"],
        )  # fmt: skip
