# SPDX-License-Identifier: Apache-2.0
"""The models of the scenes: where they lie, which way they face, how long they are.

Cars and plants are in the table that `nemo synth-sequence` has too, furniture in that of `nemo
synth` (of families that it holds out for val).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nemo_model.sequences.assets import ASSETS, unpack
from nemo_model.synth.catalogue import read_table
from nemo_model.synth.packages import locate, unpacked

PACKAGE = "sweethome3d-furniture"


@dataclass(frozen=True)
class Model:
    """An OBJ file.

    Attributes:
        path: of the file.
        length: metres; of a plant along its longest horizontal axis, else along y of the object.
        up, front: the file's axes, see nemo_model.synth.axes.
    """

    path: Path
    length: float
    up: str = "y"
    front: str = "z"


def find(names: Iterable[str], cache: Path) -> dict[str, Model]:
    """The models of these names, unpacked.

    Args:
        cache: where `nemo synth fetch` puts packages.

    Raises:
        NemoError: when the package is not there.
        KeyError: when no table has the name.
    """
    shared = unpack(unpacked(PACKAGE, cache), cache / "models" / "sequences")
    table = {entry.name: entry for entry in read_table()}
    found = {}
    for name in names:
        if name in ASSETS:
            found[name] = Model(shared[name], ASSETS[name].length)
        else:
            entry = table[name]
            path = locate(entry, cache)[0]
            found[name] = Model(path, entry.length_m, entry.up, entry.front)
    return found
