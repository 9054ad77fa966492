# SPDX-License-Identifier: Apache-2.0
"""The objective of nemo_model.objective by automatic differentiation, in any precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nemo_model.objective import HESSIAN_SCALE
from nemo_model.reference.render import Draw, Fragments, TorchScene, torch_fragments, weights_of

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """The objective at a pose.

    Attributes:
        energy: E, the sum over covered cells of relu(s - b).
        gradient: (6,) of E by (omega, dt), X_cam = exp(omega) R X + t + dt.
        hessian: (6, 6) HESSIAN_SCALE * the sum over visible cells of J^T J, J the derivative of
            the rendered feature: Gauss-Newton, of -E.
        state: (h, w) int8: -1 not covered, 0 hidden, 1 visible.
        face: (h, w) the face seen, -1 for none.
    """

    energy: float
    gradient: Array
    hessian: Array
    state: npt.NDArray[np.int8]
    face: npt.NDArray[np.int64]


def rendered(scene: TorchScene, seen: Fragments) -> Tensor:
    """Interpolated vertex features (n, C) of what is seen; not of unit length."""
    return (seen.weights[:, :, None] * scene.theta[scene.faces[seen.faces]]).sum(dim=1)


def gains(scene: TorchScene, seen: Fragments) -> Tensor:
    """s - b (n,): by how much the object explains the covered cells better than the clutter."""
    score = (rendered(scene, seen) * scene.features[seen.cells]).sum(dim=1)
    return score - scene.background[seen.cells]


def energy(scene: TorchScene, points: Tensor, draw: Draw = torch_fragments) -> Tensor:
    """E of vertices (V, 3) in the camera frame, to be differentiated."""
    return torch.relu(gains(scene, draw(scene, points))).sum()


def evaluate(
    scene: TorchScene, R: npt.ArrayLike, t: npt.ArrayLike, draw: Draw = torch_fragments
) -> Evaluation:
    """Evaluate E and its derivatives at R_cam_obj (3, 3), t (3,)."""
    dtype = scene.vertices.dtype
    rotation = torch.tensor(np.asarray(R), dtype=dtype)
    translation = torch.tensor(np.asarray(t), dtype=dtype)
    turned = scene.vertices @ rotation.T

    def moved(step: Tensor) -> Tensor:  # exp(omega) to first order: exact for derivatives at zero
        turn = torch.linalg.cross(step[:3].expand_as(turned), turned)
        return turned + turn + translation + step[3:]

    step = torch.zeros(6, dtype=dtype, requires_grad=True)
    seen = draw(scene, moved(step))
    gain = gains(scene, seen)
    value = torch.relu(gain).sum()
    gradient = torch.autograd.grad(value, step, allow_unused=True)[0]
    visible = gain.detach() > 0.0

    def features(change: Tensor) -> Tensor:
        cells, faces = seen.cells[visible], seen.faces[visible]
        weights = weights_of(scene, moved(change), cells, faces)
        return rendered(scene, Fragments(cells, faces, weights))

    J = torch.func.jacfwd(features)(torch.zeros(6, dtype=dtype)).reshape(-1, 6)
    state = torch.full((scene.height * scene.width,), -1, dtype=torch.int8)
    state[seen.cells] = visible.to(torch.int8)
    face = torch.full((scene.height * scene.width,), -1, dtype=torch.int64)
    face[seen.cells] = seen.faces
    shape = (scene.height, scene.width)
    return Evaluation(
        energy=float(value.detach()),
        gradient=np.zeros(6) if gradient is None else gradient.double().numpy(),
        hessian=HESSIAN_SCALE * (J.T @ J).detach().double().numpy(),
        state=state.reshape(shape).numpy(),
        face=face.reshape(shape).numpy(),
    )
