# SPDX-License-Identifier: Apache-2.0
"""Read MATLAB structs whose fields may be absent, empty or nested in singleton dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from nemo_model.datasets.common import DatasetError


class FieldError(ValueError):
    """A field that is there, and holds something else than it should; the message names it."""


def load_struct(path: Path, variable: str) -> np.void:
    """Load the struct `variable` of a .mat file. Raises DatasetError naming file and variable."""
    found = structs(load_variable(path, variable))
    if not found:
        raise DatasetError(f"{path}: holds no struct named '{variable}'")
    return found[0]


def load_variable(path: Path, variable: str) -> Any:
    """Load a variable of a .mat file of any version; None where it holds none of that name.

    Raises DatasetError naming the file where it is missing or damaged.
    """
    try:
        return loadmat(path, variable_names=[variable]).get(variable)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such MATLAB file") from error
    except NotImplementedError:  # version 7.3 is HDF5: some files of ObjectNet3D
        from nemo_model.datasets.matfile73 import load_variable as load_hdf5

        return load_hdf5(path, variable)
    except Exception as error:  # scipy raises many kinds on damaged files
        raise DatasetError(f"{path}: not a readable MATLAB file ({error})") from error


def structs(value: Any) -> list[np.void]:
    """All structs in a struct array, a cell array of structs, or any nesting of these."""
    if isinstance(value, np.void):
        return [value]
    if isinstance(value, np.ndarray) and (value.dtype.names or value.dtype == object):
        return [item for element in value.ravel(order="F") for item in structs(element)]
    return []


def field(struct: np.void | None, name: str) -> Any:
    """The field `name` freed from singleton cells; None where it is absent or empty."""
    if struct is None or name not in (struct.dtype.names or ()):
        return None
    value = struct[name]
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, np.ndarray) and value.size == 0:
        return None
    return value


def substruct(struct: np.void | None, name: str) -> np.void | None:
    """The first struct in the field `name`, None where there is none."""
    found = structs(field(struct, name))
    return found[0] if found else None


def numbers(struct: np.void | None, name: str) -> np.ndarray | None:
    """The field as a flat float64 array; None where it is absent or empty.

    Raises FieldError where it holds anything but finite numbers.
    """
    value = field(struct, name)
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise FieldError(f"{name} is no number ({str(value)[:40]})") from error
    if not np.isfinite(array).all():
        raise FieldError(f"{name} is not finite ({', '.join(map(str, array[:4]))})")
    return array


def number(struct: np.void | None, name: str) -> float | None:
    """The first number in the field; None where it is absent or empty.

    Raises FieldError where it holds anything but finite numbers.
    """
    values = numbers(struct, name)
    return None if values is None else float(values[0])


def text(struct: np.void | None, name: str) -> str:
    """The field as a string; "" where it is absent or empty."""
    value = field(struct, name)
    while isinstance(value, np.ndarray):
        if value.size == 0:
            return ""
        value = value.ravel()[0]
    return "" if value is None else str(value)
