# SPDX-License-Identifier: Apache-2.0
"""The table of models (models.csv): what each is, where it lies, how it stands, whose it is."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_model.errors import NemoError

TABLE = Path(__file__).with_name("models.csv")
AXES = ("x", "-x", "y", "-y", "z", "-z")
SIZES = ("width_m", "length_m", "height_m")
VAL_SHARE = 0.25


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        category: PASCAL3D+'s name.
        family: near copies have the same; splits are by family.
        package: the Debian package.
        archive: path of the .sh3f (a zip) in the package; empty: the model lies there unzipped.
        path: of the OBJ or AC file, in the archive or the package.
        up, front: the file's axes that point up and to the front, see AXES.
        width_m, length_m, height_m: of its bounding box along x, y, z of the object frame.
        symmetry: n: looks the same after every turn by 360 / n degrees about z; 0: after any.
        licence, author: as the package states them.
        left_out: regular expression; objects of an AC file by such names are not part of it.
    """

    category: str
    family: str
    package: str
    archive: str
    path: str
    up: str
    front: str
    width_m: float
    length_m: float
    height_m: float
    symmetry: int
    licence: str
    author: str
    left_out: str = ""

    @property
    def name(self) -> str:
        """The file's name without suffix."""
        return Path(self.path).stem

    @property
    def diagonal_m(self) -> float:
        """Diagonal of its bounding box, metres: one object unit."""
        return math.hypot(self.width_m, self.length_m, self.height_m)


def read_table(path: Path = TABLE) -> list[Entry]:
    """All models of the table, in its order.

    Raises:
        NemoError: naming the line and field that are wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise NemoError(f"{path}: cannot be read as a table of models ({error})") from error
    return [_entry(row, f"{path}: line {number}") for number, row in enumerate(rows, 2)]


def _entry(row: dict[str, str], where: str) -> Entry:
    fields = {key: (value or "").strip() for key, value in row.items() if key}
    missing = [key for key in Entry.__dataclass_fields__ if key not in fields]
    if missing:
        raise NemoError(f"{where}: the column {missing[0]} is missing")
    for key in ("category", "family", "package", "path", "licence"):
        if not fields[key]:
            raise NemoError(f"{where}: {key} is empty")
    for key in ("up", "front"):
        if fields[key] not in AXES:
            raise NemoError(f"{where}: {key} is {fields[key]!r}, must be one of {', '.join(AXES)}")
    if fields["up"][-1] == fields["front"][-1]:
        raise NemoError(f"{where}: up and front are along the same axis")
    try:
        size = {key: float(fields[key]) for key in SIZES}
        symmetry = int(fields["symmetry"])
    except ValueError as error:
        raise NemoError(f"{where}: a size or symmetry is no number ({error})") from error
    if not all(0.0 < value < 1e3 for value in size.values()) or symmetry < 0:
        raise NemoError(f"{where}: sizes must be positive (metres), symmetry 0 or more")
    text = {k: v for k, v in fields.items() if k in Entry.__dataclass_fields__}
    return Entry(**(text | size | {"symmetry": symmetry}))  # type: ignore[arg-type]


def categories(entries: Sequence[Entry]) -> list[str]:
    """Their categories, sorted."""
    return sorted({entry.category for entry in entries})


def of_category(entries: Sequence[Entry], category: str) -> list[Entry]:
    """The models of a category, in their order. Raises NemoError where there is none."""
    found = [entry for entry in entries if entry.category == category]
    if not found:
        known = ", ".join(categories(entries)) or "none"
        raise NemoError(f"category {category!r}: the table has no models of it; it has {known}")
    return found


def split_families(families: Sequence[str], split: str) -> list[str]:
    """The families of a split, sorted: val gets the quarter whose SHA-256 comes first.

    Independent of the table's order and of any seed. Raises NemoError on an unknown split, or
    where a single family cannot be split.
    """
    if split not in ("train", "val"):
        raise NemoError(f"split {split!r} is not known; choose train or val")
    ranked = sorted(set(families), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(ranked) < 2:
        raise NemoError(f"{len(ranked)} families cannot be split into train and val")
    count = max(round(VAL_SHARE * len(ranked)), 1)
    return sorted(ranked[:count] if split == "val" else ranked[count:])
