# SPDX-License-Identifier: Apache-2.0
"""Which categories a family has: a YAML file, with the folders of the data bound by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nemo_model.bundle import SizePrior
from nemo_model.datasets.common import read_lines
from nemo_model.errors import NemoError
from nemo_model.synth.catalogue import of_category, read_table
from nemo_model.synth.prior import prior
from nemo_model.training.config import AugmentConfig, TrainConfig

SYNTH = "synth"


class Also(BaseModel):
    """A second data set of a category, as of rendered objects among photos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str = Field(description="as of the category")
    source: str = SYNTH
    share: float = Field(gt=0, lt=1, description="of the category's samples")


class Member(BaseModel):
    """One category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    root: str = Field(description="folder of the data set, or a name that --roots binds to one")
    source: str
    split: str = "train-fit"
    licence: str = Field(min_length=1, description="of data and weights, for the card")
    weight: float = Field(default=1.0, gt=0, description="share of the samples, over their sum")
    symmetry: int | None = Field(default=None, ge=0, description="as in the card")
    size: SizePrior | None = None
    meshes: Path | None = Field(default=None, description="of nemo make-mesh; else one cuboid")
    leave_out: Path | None = Field(default=None, description="names of photos not to train on")
    data: str = Field(default="", description="for the card")
    also: Also | None = None
    augment: dict[str, Any] = Field(
        default={},
        description="fields of AugmentConfig in place of the run's",
    )

    @field_validator("augment")
    @classmethod
    def _known(cls, changes: dict[str, Any]) -> dict[str, Any]:
        AugmentConfig.model_validate(changes)
        return changes

    def config(self, base: TrainConfig) -> TrainConfig:
        """The settings of its samples."""
        left_out = () if self.leave_out is None else tuple(read_lines(self.leave_out))
        changed: dict[str, object] = {
            "category": self.category, "source": self.source, "split": self.split,
            "symmetry": 1 if self.symmetry is None else self.symmetry, "left_out": left_out,
        }  # fmt: skip
        if self.also is not None:
            changed |= {"also_source": self.also.source, "also_share": self.also.share}
        if self.augment:
            fields = base.augment.model_dump() | self.augment
            changed["augment"] = AugmentConfig.model_validate(fields)
        return base.model_copy(update=changed)


class Family(BaseModel):
    """All categories, in the order of their rows in the bank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[Member, ...] = Field(min_length=1)

    @property
    def name(self) -> str:
        """Of the TrainConfig that they share."""
        return "+".join(each.category for each in self.categories)


def read_family(path: Path) -> Family:
    """Read such a file; sizes and symmetries of rendered categories come from the table of models.

    Files that it names lie beside it.

    Raises:
        NemoError: naming the file and field that is missing or wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        family = Family.model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NemoError(f"{path}: cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise NemoError(f"{path}: {field}: {first['msg']}") from error
    names = [each.category for each in family.categories]
    if len(set(names)) < len(names):
        raise NemoError(f"{path}: categories: {', '.join(names)}: one is there twice")
    return Family(categories=tuple(_completed(each, path) for each in family.categories))


def _completed(each: Member, path: Path) -> Member:
    """With a size, a symmetry and what the card says of the data."""
    said = f"{Path(each.root).name}: {each.source}, {each.category}, {each.split}"
    if each.also is not None:
        said += f"; {each.also.share:.0%} from {Path(each.also.root).name}: {each.also.source}"
    known = {"data": each.data or said}
    found = each.model_copy(
        update=known
        | {
            name: path.parent / value
            for name in ("meshes", "leave_out")
            if (value := getattr(each, name)) is not None
        }
    )
    return with_prior(found, f"{path}: {each.category}")


def with_prior(each: Member, where: str) -> Member:
    """With the size and symmetry of the rendered models, where it has none of its own.

    Raises NemoError where there is no size, naming `where`.
    """
    if each.size is not None:
        return each
    if each.source != SYNTH:
        raise NemoError(f"{where}: size: is needed, with length_m, sigma and source")
    known = prior(of_category(read_table(), each.category))
    size = SizePrior(
        length_m=round(known.size_m[1], 3),
        sigma=round(known.sigma, 3),
        source=f"mean of {known.families} families of models, nemo synth models",
    )
    symmetry = known.symmetry if each.symmetry is None else each.symmetry
    return each.model_copy(update={"size": size, "symmetry": symmetry})


def bound(entries: Sequence[str]) -> dict[str, Path]:
    """["synth=DIR"] to a mapping. Raises NemoError for an entry of another form."""
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not equals or not name or not folder:
            raise NemoError(f"--roots {entry}: is not of the form NAME=DIR")
        found[name] = Path(folder)
    return found


def root_of(each: Member, roots: Mapping[str, Path]) -> Path:
    """The folder of a category's data. Raises NemoError where the name is not bound."""
    return _folder(each.root, roots, f"{each.category}: root")


def also_of(each: Member, roots: Mapping[str, Path]) -> Path | None:
    """The folder of its second data set, None without one. Raises NemoError as root_of."""
    return None if each.also is None else _folder(each.also.root, roots, f"{each.category}: also")


def _folder(name: str, roots: Mapping[str, Path], where: str) -> Path:
    folder = roots.get(name, Path(name))
    if not folder.is_dir():
        raise NemoError(
            f"{where}: {folder}: no such folder; say where it is with --roots {name}=DIR"
        )
    return folder
