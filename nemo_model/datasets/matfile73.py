# SPDX-License-Identifier: Apache-2.0
"""MATLAB's version 7.3 files, which are HDF5, in the form that scipy gives the older ones.

ObjectNet3D's annotation tool saves so. In HDF5 a struct is a group, a struct array a group of
reference arrays, a cell array a reference array marked as one; text is an array of code points,
an empty array a marked list of its sizes, and all arrays are transposed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nemo_model.datasets.common import DatasetError


def load_variable(path: Path, variable: str) -> Any:
    """Load a variable; None where the file holds none of that name.

    Raises DatasetError naming the file where it is damaged, or where h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(
            f"{path}: is a MATLAB file of version 7.3; to read it: pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return _value(file[variable], h5py) if variable in file else None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DatasetError(f"{path}: not a readable MATLAB 7.3 file ({error})") from error


def _value(node: Any, h5py: Any) -> Any:
    """What scipy's loadmat would give for a node."""
    kind = node.attrs.get("MATLAB_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if isinstance(node, h5py.Group):
        return _struct(node, h5py)
    if node.attrs.get("MATLAB_empty", 0):
        return np.zeros((0, 0), dtype=object if kind in ("struct", "cell") else np.float64)
    if h5py.check_ref_dtype(node.dtype) is not None:
        return _filled([_value(node.file[ref], h5py) for ref in np.ravel(node[()])])
    array = np.asarray(node[()]).T
    if kind == "char":
        return np.array(["".join(map(chr, np.ravel(array, order="F")))])
    return array


def _struct(group: Any, h5py: Any) -> np.ndarray:
    """A struct array (1, n) with one object per field."""
    columns: dict[str, list[Any]] = {}
    single = not _is_array(group, h5py)
    for name in group:
        value = _value(group[name], h5py)
        columns[name] = [value] if single else list(value.ravel())
    count = max((len(values) for values in columns.values()), default=1)
    array = np.empty((1, count), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        if len(values) != count:
            raise ValueError(f"the structs have {count} or {len(values)} values of '{name}'")
        for k, value in enumerate(values):
            array[0, k][name] = value
    return array


def _is_array(group: Any, h5py: Any) -> bool:
    """Whether the group is an array of structs: all its members are references, and no cells."""
    members = [group[name] for name in group]
    return bool(members) and all(
        isinstance(member, h5py.Dataset)
        and h5py.check_ref_dtype(member.dtype) is not None
        and member.attrs.get("MATLAB_class", b"") != b"cell"
        for member in members
    )


def _filled(values: list[Any]) -> np.ndarray:
    array = np.empty((1, len(values)), dtype=object)
    for k, value in enumerate(values):
        array[0, k] = value
    return array
