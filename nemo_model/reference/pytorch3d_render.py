# SPDX-License-Identifier: Apache-2.0
"""The same fragments through PyTorch3D: rasterize_meshes, blur_radius 0, one face per pixel.

PyTorch3D has no wheels for current Pythons: see INSTALL_PYTORCH3D.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from nemo_model.errors import NemoError
from nemo_model.reference import INSTALL_PYTORCH3D
from nemo_model.reference.render import Draw, Fragments, TorchScene


def pytorch3d_fragments() -> Draw:
    """Return the renderer, called as render.torch_fragments is; weights by PyTorch3D's backward.

    Raises:
        NemoError: when PyTorch3D is not installed.
    """
    try:
        rasterize = importlib.import_module("pytorch3d.renderer.mesh.rasterize_meshes")
        structures = importlib.import_module("pytorch3d.structures")
    except ImportError as error:
        raise NemoError(
            f"solver 'pytorch3d' needs PyTorch3D, which cannot be imported ({error}). Build it as "
            f"{INSTALL_PYTORCH3D} says, or use --solver torch: the same objective without it"
        ) from error

    def draw(scene: TorchScene, points: Tensor) -> Fragments:
        ndc = to_ndc(scene, points).float()  # PyTorch3D computes in float32 only
        mesh = structures.Meshes(ndc[None], scene.faces[None])
        face, _, weights, _ = rasterize.rasterize_meshes(
            mesh,
            image_size=(scene.height, scene.width),
            blur_radius=0.0,
            faces_per_pixel=1,
            perspective_correct=True,
            clip_barycentric_coords=False,
            cull_backfaces=False,
        )
        cells = torch.nonzero(face.flatten() >= 0)[:, 0]
        seen = weights.reshape(-1, 3)[cells].to(points.dtype)
        return Fragments(cells, face.flatten()[cells], seen)

    return draw


def to_ndc(scene: TorchScene, points: Tensor) -> Tensor:
    """Camera-frame points (V, 3) to PyTorch3D's NDC: x left, y up, the shorter side from -1 to 1,
    cell centres half a cell inside, z the depth."""
    plane = points @ scene.K.T
    depth = points[:, 2:]
    middle = 0.5 * points.new_tensor([scene.width - 1.0, scene.height - 1.0])
    unit = 2.0 / min(scene.width, scene.height)
    return torch.cat([(middle - plane[:, :2] / depth) * unit, depth], dim=1)
