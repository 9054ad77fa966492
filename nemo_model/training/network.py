# SPDX-License-Identifier: Apache-2.0
"""What is learned: backbone, feature bank and the readers of the viewpoint; and parts of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.backbone import Backbone
from nemo_model.training.config import TrainConfig
from nemo_model.training.loss import Bank
from nemo_model.training.viewpoint import Readers

PRIOR = ("backbone.context.", "readers.")
"""What the names of the viewpoint prior's weights begin with."""


class NeuralMesh(nn.Module):
    """The backbone, the feature bank and what reads the viewpoint of one or more categories."""

    def __init__(self, vertices: int, config: TrainConfig, categories: int = 1) -> None:
        super().__init__()
        self.backbone = Backbone(config.features, config.context)
        self.bank = Bank(vertices, config.prototypes, config.features)
        self.readers = Readers(categories, config.context) if config.context else None


def sizes(meshes: MeshSet, config: TrainConfig) -> tuple[int, TrainConfig, int]:
    """What a NeuralMesh of a set is made with: vertices, settings, categories."""
    vertices = sum(len(each.mesh.vertices) for each in meshes.meshes)
    return vertices, config, len(meshes.category.split("+"))


def prior_of(model: NeuralMesh) -> dict[str, Tensor]:
    """The weights that bundles without a viewpoint prior lack."""
    state = model.state_dict()
    return {name: state[name] for name in state if name.startswith(PRIOR)}


def keep_all_but(model: NeuralMesh, rows: slice) -> None:
    """Learn these rows of the vertex features and the last category's reader alone."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    _learn_rows(model.bank.raw_theta, rows)
    if model.readers is not None:
        for parameter in model.readers.parameters():
            _learn_rows(parameter, slice(-1, None))


def keep_all_but_prior(model: NeuralMesh) -> None:
    """Learn the context and what reads it alone."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(PRIOR))


def _learn_rows(parameter: nn.Parameter, rows: slice) -> None:
    learned = torch.zeros_like(parameter)
    learned[rows] = 1.0
    parameter.requires_grad_(True)
    parameter.register_hook(lambda gradient: gradient * learned)
