# SPDX-License-Identifier: Apache-2.0
"""From a category's CAD models to the meshes that stand for it: the paper's three kinds.

Wang et al., NeMo, ICLR 2021: *SingleCuboid*, one cuboid that holds 99 % of all CAD vertices of the
category per axis; *MultiCuboid*, such a cuboid per CAD model (sub-type); *NeMo*, the CAD models
themselves, here as closed meshes of evenly spread vertices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, category_cuboid, mean_outline
from nemo_model.meshes.meshset import WHOLE, MeshSet, SubtypeMesh
from nemo_model.meshes.simplify import simplify

KINDS = ("single-cuboid", "multi-cuboid", "cad")
SHARE = 0.99
"""Of the CAD vertices, held by a cuboid along each axis."""


def make_meshes(
    cads: Mapping[int, Mesh], category: str, kind: str, vertices: int = 1000, share: float = SHARE
) -> MeshSet:
    """Make the meshes of a category.

    Args:
        cads: the CAD models by number, object frame.
        category: its name.
        kind: one of KINDS.
        vertices: about how many each mesh has.
        share: of the CAD vertices that a cuboid holds per axis.

    Raises:
        NemoError: for an unknown kind, no CAD model, or one that no mesh can be made of.
    """
    if kind not in KINDS:
        raise NemoError(f"meshes: kind '{kind}' is not known; choose one of {', '.join(KINDS)}")
    if not cads:
        raise NemoError(f"meshes: no CAD model of '{category}'")
    if kind == "single-cuboid":
        models = list(cads.values())
        one = SubtypeMesh(WHOLE, category_cuboid(models, share, vertices), mean_outline(models))
        return MeshSet(category, kind, (one,))
    if kind == "cad":
        return MeshSet(category, kind, tuple(_each(cads, lambda cad: simplify(cad, vertices))))

    def box(cad: Mesh) -> Mesh:
        return category_cuboid([cad], share, vertices)

    return MeshSet(category, kind, tuple(_each(cads, box)))


def _each(cads: Mapping[int, Mesh], make: Callable[[Mesh], Mesh]) -> Iterator[SubtypeMesh]:
    for number in sorted(cads):
        try:
            yield SubtypeMesh(number, make(cads[number]), mean_outline([cads[number]]))
        except NemoError as error:
            raise NemoError(f"CAD model {number}: {error}") from error
