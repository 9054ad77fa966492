# SPDX-License-Identifier: Apache-2.0
"""Writes MATLAB 7.3 files as `save(..., '-v7.3')` does: HDF5 behind a 512-byte header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


class Writer:
    """One file. A dict is a struct, a list of dicts a struct array, a tuple a cell array."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def write(self, **variables: Any) -> None:
        with h5py.File(self.path, "w", userblock_size=512) as file:
            self.refs = file.create_group("#refs#")
            for name, value in variables.items():
                self.put(file, name, value)
        with self.path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")

    def put(self, group: h5py.Group, name: str, value: Any) -> h5py.HLObject:
        if isinstance(value, dict):
            node = group.create_group(name)
            for key, item in value.items():
                self.put(node, key, item)
            return self.marked(node, "struct")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            node = group.create_group(name)
            for key in dict.fromkeys(key for item in value for key in item):
                items = [item.get(key, np.zeros((0, 0))) for item in value]
                node.create_dataset(key, data=self.references(items), dtype=h5py.ref_dtype)
            return self.marked(node, "struct")
        if isinstance(value, tuple):
            data = group.create_dataset(name, data=self.references(value), dtype=h5py.ref_dtype)
            return self.marked(data, "cell")
        if isinstance(value, str):
            codes = np.array([[ord(c)] for c in value], dtype=np.uint16)
            return self.marked(group.create_dataset(name, data=codes), "char")
        array = np.atleast_2d(np.asarray(value, dtype=np.float64))
        if not array.size:
            node = group.create_dataset(name, data=np.zeros(2, dtype=np.uint64))
            node.attrs["MATLAB_empty"] = np.uint8(1)
            return self.marked(node, "double")
        return self.marked(group.create_dataset(name, data=array.T), "double")

    def references(self, items: Any) -> np.ndarray:
        found = np.empty((len(items), 1), dtype=h5py.ref_dtype)
        for k, item in enumerate(items):
            self.count += 1
            found[k, 0] = self.put(self.refs, f"r{self.count}", item).ref
        return found

    @staticmethod
    def marked(node: h5py.HLObject, kind: str) -> h5py.HLObject:
        node.attrs["MATLAB_class"] = np.bytes_(kind)
        return node
