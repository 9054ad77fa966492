# SPDX-License-Identifier: Apache-2.0
"""Start a training run from a shipped bundle instead of from ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from nemo_model.bundle import Bundle
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.meshes.neural import NeuralSubtype
from nemo_model.training.export import HALF
from nemo_model.training.parts import counterparts
from nemo_model.viewpoint import Reader


def bundle_weights(folder: Path, meshes: MeshSet | None = None) -> dict[str, Tensor]:
    """Return the weights of a bundle as the state of a training.network.NeuralMesh.

    The large ones were stored as float16 (see training.export.store_half).

    Args:
        meshes: those to be trained, where they are not the bundle's: each vertex starts with the
            feature of the bundle's vertex in the corresponding place.

    Raises:
        BundleError: when the bundle is not intact.
        NemoError: when its backbone is none of ours.
    """
    bundle = Bundle.load(folder)
    stored = {
        tensor.name.removesuffix(HALF): numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundle.onnx_path).graph.initializer
    }
    state = {
        name: torch.from_numpy(np.array(values, dtype=np.float32))
        for name, values in stored.items()
        if name.startswith("backbone.")
    }
    if not state:
        raise NemoError(f"{bundle.onnx_path}: holds no weights that nemo export named")
    theta = [each.features for each in bundle.meshes]
    if meshes is not None:
        theta = [carried(each, bundle.meshes) for each in meshes.meshes]
    state["bank.raw_theta"] = torch.from_numpy(np.concatenate(theta).astype(np.float32))
    if bundle.reader is not None:
        state |= reader_state([bundle.reader])
    state["bank.raw_beta"] = torch.from_numpy(np.array(bundle.clutter, dtype=np.float32))
    return state


def reader_state(readers: Sequence[Reader]) -> dict[str, Tensor]:
    """The state of a training.viewpoint.Readers of these categories.

    What training showed them from counts as shown; how often that was is not known any more.
    """
    return {
        "readers.weight": torch.from_numpy(np.stack([reader.weight for reader in readers])),
        "readers.bias": torch.from_numpy(np.stack([reader.bias for reader in readers])),
        "readers.count": torch.from_numpy(np.stack([reader.shown for reader in readers])).float(),
    }


def carried(each: SubtypeMesh, known: Sequence[NeuralSubtype]) -> npt.NDArray[np.float32]:
    """Features (V, C) for a mesh from its sub-type's in the bundle, or else from the first's."""
    source = next((other for other in known if other.subtype == each.subtype), known[0])
    return source.features[counterparts(_unit_box(each.mesh), _unit_box(source.mesh))]


def _unit_box(mesh: Mesh) -> Mesh:
    """The mesh stretched and moved to fill the cube from -0.5 to 0.5."""
    return Mesh((mesh.vertices - (mesh.lo + mesh.hi) / 2) / mesh.extent, mesh.faces)
