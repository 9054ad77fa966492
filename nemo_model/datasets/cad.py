# SPDX-License-Identifier: Apache-2.0
"""The CAD models of a category: OFF files, or the MATLAB files that the data sets ship as well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nemo_model.datasets import matfile
from nemo_model.datasets.common import DatasetError
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, load_off


def off_files(folder: Path) -> dict[int, Path]:
    """The NN.off files of a folder by number, in order; other files are passed over."""
    found = {int(path.stem): path for path in folder.glob("*.off") if path.stem.isdecimal()}
    return dict(sorted(found.items()))


def load_cads(root: Path, category: str, folders: Sequence[Path]) -> dict[int, Mesh]:
    """All CAD models of a category by their number (cad_index, from 1).

    Looked for in this order: NN.off in one of `folders`; root/CAD/CATEGORY.mat (PASCAL3D+: a struct
    array named after the category); root/CAD/cads.mat (ObjectNet3D: `cads` by `class_names`).
    Raises DatasetError where there are none, NemoError naming a file that is damaged.
    """
    for folder in folders:
        files = off_files(folder)
        if files:
            return {number: load_off(path) for number, path in files.items()}
    own, joint = root / "CAD" / f"{category}.mat", root / "CAD" / "cads.mat"
    if own.is_file():
        return _meshes(own, category, matfile.load_variable(own, category))
    if joint.is_file():
        return _meshes(joint, category, _of_class(joint, category))
    looked = ", ".join(map(str, [*folders, own, joint]))
    raise DatasetError(f"no CAD models of '{category}'; looked for NN.off or .mat in {looked}")


def _of_class(path: Path, category: str) -> Any:
    names = [_text(cell) for cell in np.ravel(matfile.load_variable(path, "class_names"))]
    cads = matfile.load_variable(path, "cads")
    if category not in names or cads is None or len(np.ravel(cads)) != len(names):
        raise DatasetError(f"{path}: cads and class_names hold no '{category}'")
    return np.ravel(cads, order="F")[names.index(category)]


def _text(cell: Any) -> str:
    while isinstance(cell, np.ndarray):
        if not cell.size:
            return ""
        cell = cell.ravel()[0]
    return str(cell)


def _meshes(path: Path, category: str, value: Any) -> dict[int, Mesh]:
    found = matfile.structs(value)
    if not found:
        raise DatasetError(f"{path}: holds no struct array '{category}' of CAD models")
    meshes: dict[int, Mesh] = {}
    for number, struct in enumerate(found, start=1):
        try:
            vertices, faces = matfile.numbers(struct, "vertices"), matfile.numbers(struct, "faces")
            if vertices is None or faces is None:
                raise matfile.FieldError("has no vertices or faces")
            shape = np.shape(matfile.field(struct, "vertices"))
            if len(shape) != 2 or shape[1] != 3:
                raise matfile.FieldError(f"vertices have shape {shape}, need (V, 3)")
            # MATLAB counts from 1
            meshes[number] = Mesh(vertices.reshape(-1, 3), faces.reshape(-1, 3).astype(int) - 1)
        except (matfile.FieldError, NemoError, ValueError) as error:
            raise DatasetError(f"{path}: CAD model {number}: {error}") from error
    return meshes
