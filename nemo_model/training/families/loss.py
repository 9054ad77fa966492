# SPDX-License-Identifier: Apache-2.0
"""The training loss of several categories: a vertex competes with those of the others as well.

So the features of different things are kept apart, by which they are recognised. Sub-types of one
category do not compete, as with one category. The pose term compares poses of the sample's own
category; cells off the object are held off all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.config import TrainConfig
from nemo_model.training.families.maker import category_of
from nemo_model.training.loss import Objective, Rivalry


class FamilyObjective(Objective):
    """The loss of a set that maker.joined made.

    configs: of the categories in their order, for their symmetries.
    """

    def __init__(
        self, meshes: MeshSet, config: TrainConfig, configs: Sequence[TrainConfig]
    ) -> None:
        super().__init__(meshes, config)
        self.category = [category_of(each) for each in meshes.meshes]
        self.symmetries = torch.tensor([each.symmetry for each in configs])
        self.rivalry = nn.ModuleList(
            Rivalry(each.mesh, configs[place])
            for each, place in zip(meshes.meshes, self.category, strict=True)
        )

    def _elsewhere(self, theta: Tensor, beta: Tensor, part: int) -> Tensor:
        """The clutter prototypes, and `others` vertices of other categories, drawn for the step.

        The draw goes by the step's seed alone, so that all processes of a run draw the same ones.
        """
        rows = [
            torch.arange(block.start, block.stop)
            for block, place in zip(self.blocks, self.category, strict=True)
            if place != self.category[part]
        ]
        if not rows:
            return beta
        known = torch.cat(rows)
        chance = torch.Generator().manual_seed(torch.initial_seed())
        drawn = torch.randperm(len(known), generator=chance)[: self.config.others]
        return torch.cat([beta, theta[known[drawn].to(theta.device)]])
