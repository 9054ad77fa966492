# SPDX-License-Identifier: Apache-2.0
"""The paper's kinds of meshes, made from a data set's CAD models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nemo_model.datasets.cad import load_cads
from nemo_model.datasets.layout import layout
from nemo_model.mesh import Mesh
from nemo_model.meshes.make import make_meshes
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.training.config import TrainConfig


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
