# SPDX-License-Identifier: Apache-2.0
"""Samples of several categories: each one's own maker, rows of one bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.training.loader import Maker
from nemo_model.training.samples import Sample

STEP = 100_000
"""Mesh k of a family's set is numbered STEP * (1 + place of its category) + its sub-type."""
_WHICH = 0xFA
"""Keeps the draw of a category apart from what is drawn for the sample."""


def joined(sets: Sequence[MeshSet]) -> MeshSet:
    """The meshes of all categories as one set, numbered by STEP."""
    meshes = [
        SubtypeMesh(STEP * (1 + place) + each.subtype, each.mesh, each.outline)
        for place, one in enumerate(sets)
        for each in one.meshes
    ]
    return MeshSet("+".join(one.category for one in sets), "family", tuple(meshes))


def category_of(each: SubtypeMesh) -> int:
    """Place of the category that a mesh of a joined set belongs to."""
    return each.subtype // STEP - 1


def parted(meshes: MeshSet) -> list[MeshSet]:
    """Undo `joined`."""
    places = sorted({category_of(each) for each in meshes.meshes})
    names = meshes.category.split("+")
    return [
        MeshSet(
            names[place],
            meshes.kind,
            tuple(
                SubtypeMesh(each.subtype % STEP, each.mesh, each.outline)
                for each in meshes.meshes
                if category_of(each) == place
            ),
        )
        for place in places
    ]


class FamilyMaker:
    """Sample i is of one category, by the seed, i and the weights, and then of that one's maker.

    makers: by category, of the sets that are joined; None where nothing is learned of one.
    """

    def __init__(
        self,
        sets: Sequence[MeshSet],
        makers: Sequence[Maker | None],
        weights: Sequence[float],
        seed: int,
    ) -> None:
        self.meshes = joined(sets)
        self.makers, self.seed = makers, seed
        share = np.array([w if m else 0.0 for w, m in zip(weights, makers, strict=True)])
        self.share = share / share.sum()
        vertices = [sum(len(each.mesh.vertices) for each in one.meshes) for one in sets]
        self.rows = np.cumsum([0, *vertices])
        self.parts = np.cumsum([0] + [len(one.meshes) for one in sets])

    def category(self, index: int) -> int:
        """Which category sample number `index` is of."""
        rng = np.random.default_rng([self.seed, index, _WHICH])
        return int(rng.choice(len(self.share), p=self.share))

    def __call__(self, index: int) -> Sample:
        """Return sample number `index` of the run."""
        return self.of(self.category(index), index)

    def of(self, place: int, index: int) -> Sample:
        """Sample number `index` of one category, its vertices as rows of the joint bank."""
        maker, row = self.makers[place], int(self.rows[place])
        assert maker is not None
        sample = maker(index)
        return replace(
            sample,
            vertex=np.where(sample.vertex >= 0, sample.vertex + row, -1),
            corner=sample.corner + row,
            part=sample.part + int(self.parts[place]),
        )
