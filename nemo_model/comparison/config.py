# SPDX-License-Identifier: Apache-2.0
"""What a table compares: systems, data, protocol, seeds; read from YAML, written beside results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nemo_model.errors import NemoError

KINDS = ("occlusion", "unseen", "mesh", "ablation")

_SYSTEMS = {
    "occlusion": ("nemo-viewpoint", "nemo", "res50-general", "res50-specific", "starmap"),
    "unseen": ("nemo-viewpoint", "nemo", "res50-general", "res50-specific", "starmap"),
    "mesh": ("nemo", "nemo-multi-cuboid", "nemo-cad"),
    "ablation": (
        "nemo", "nemo-no-contrast", "nemo-no-clutter", "nemo-no-pose-term", "nemo-silhouettes",
        "nemo-viewpoint",
    ),
}  # fmt: skip
_PROTOCOLS = {"mesh": ("paper", "paper-subtype")}
_AUGMENT = {"occlusion": "both", "ablation": "both", "unseen": "with", "mesh": "with"}


class TableConfig(BaseModel):
    """One table. Where a default is None it depends on the kind, see `for_kind`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["occlusion", "unseen", "mesh", "ablation"]
    root: Path = Field(description="data set, PASCAL3D+ layout")
    backgrounds: Path = Field(description="photos for padding and occluders in training")
    source: str = "stanford"
    train_split: str = "train-fit"
    split: str = Field(default="val", description="what is reported")
    categories: tuple[str, ...] = Field(default=("car",), min_length=1)
    systems: tuple[str, ...] = Field(default=(), min_length=1)
    reference: str = Field(default="nemo", description="whom the others are compared with")
    augment: Literal["with", "without", "both"] = Field(
        default="both", description="train with pasted occluders and neighbours, without, or both"
    )
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    steps: int = Field(default=600, ge=1, description="of a training, per category")
    batch: int = Field(default=32, ge=1)
    backbone: str = "lite0"
    keypoints: Path | None = Field(default=None, description="named 3D keypoints for StarMap")
    settings: tuple[str, ...] = Field(default=(), description="other fields of TrainConfig")
    protocols: tuple[Literal["paper", "robot", "paper-subtype"], ...] = Field(
        default=("paper",), min_length=1
    )
    levels: tuple[int, ...] = Field(default=(0, 1, 2, 3), min_length=1)
    occluded_root: Path | None = Field(
        default=None, description="occluded copies at hand; None: they are made"
    )
    occluder_photos: Path | None = Field(
        default=None, description="photos the copies' occluders are cut from; None: backgrounds"
    )
    occlusion_seed: int = 0
    limit: int | None = Field(default=None, ge=1, description="so many objects per category")
    limit_seed: int = 0
    resamples: int = Field(default=2000, ge=100, description="of the bootstrap")
    examples: int = Field(default=4, ge=0, description="objects shown with their occlusion map")

    @field_validator("categories", "systems", "seeds", "protocols", "levels")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("names one twice")
        return values

    @field_validator("levels")
    @classmethod
    def _known(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not set(values) <= {0, 1, 2, 3}:
            raise ValueError("holds another level than 0, 1, 2 and 3")
        return tuple(sorted(values))


def for_kind(kind: str, values: dict[str, Any], where: str = "nemo table") -> TableConfig:
    """The config of a kind: its defaults, changed by `values`.

    Raises NemoError naming `where` and the first field that is wrong.
    """
    defaults: dict[str, Any] = {
        "kind": kind,
        "systems": _SYSTEMS.get(kind, ()),
        "protocols": _PROTOCOLS.get(kind, ("paper",)),
        "augment": _AUGMENT.get(kind, "both"),
    }
    try:
        return TableConfig.model_validate(defaults | values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise NemoError(f"{where}: {field}: {first['msg']}") from error


def read_values(path: Path) -> dict[str, Any]:
    """The fields set in a YAML file; a `kind` in it is left out, the command names it.

    Raises NemoError naming the file where it cannot be read or is no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NemoError(f"{path}: cannot be read as YAML ({error})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise NemoError(f"{path}: must be a mapping, e.g. 'steps: 600'")
    return {str(key): value for key, value in content.items() if key != "kind"}


def as_yaml(config: TableConfig) -> str:
    """The whole config, to be written beside its results."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
