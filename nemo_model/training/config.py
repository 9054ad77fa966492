# SPDX-License-Identifier: Apache-2.0
"""What a training run is: every knob, with its unit; written beside every checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nemo_model.errors import NemoError


class AugmentConfig(BaseModel):
    """How a photo is changed before the network sees it. Probabilities are per sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(default=0.5, description="probability of mirroring; 0 switches it off")
    fill: tuple[float, float] = Field(default=(0.68, 1.02), description="box over crop, range")
    box_jitter: float = Field(
        default=0.05, description="standard deviation of each side / box size"
    )
    rough_box: float = Field(default=0.1, description="probability of a box three times as wrong")
    roll_deg: float = Field(
        default=3.5, description="standard deviation of in-plane rotation, degrees"
    )
    cut: float = Field(default=0.18, description="probability of a cut by the image's edge")
    cut_share: float = Field(default=0.45, description="most of the box that a cut takes away")
    photo_padding: float = Field(
        default=0.65, description="probability of a photo around the object"
    )
    silhouette: float = Field(
        default=0.5, description="... in which the object is cut out by its CAD"
    )
    occluded: float = Field(default=0.7, description="probability of pasted occluders")
    hidden_share: tuple[float, float] = Field(
        default=(0.08, 0.78), description="hidden silhouette, range"
    )
    object_occluder: float = Field(
        default=0.2, description="probability that an occluder is a car photo"
    )
    neighbour: float = Field(
        default=0.5, description="probability of another car beside it, and again of a second"
    )
    visible_box: float = Field(
        default=0.2, description="probability of a box around the visible part alone"
    )
    shrink: float = Field(default=0.4, description="probability of a low-resolution image")
    shrink_to: float = Field(default=0.18, description="lowest resolution, as a share")
    blur: float = Field(default=0.2, description="probability of Gaussian or motion blur")
    noise: float = Field(default=0.3, description="probability of sensor noise")
    jpeg: float = Field(default=0.3, description="probability of JPEG compression")
    colour: float = Field(
        default=0.8, description="probability of changed brightness, contrast, colour"
    )
    style: float = Field(
        default=0.0, description="probability of a background photo's style, see style.py"
    )

    def eased(self, share: float) -> AugmentConfig:
        """With only a share, 0 to 1, of what hides or spoils the object."""
        low, high = self.hidden_share
        scaled = {name: share * getattr(self, name) for name in SPOILING}
        hidden = (low, low + share * (high - low))
        return self.model_copy(update={**scaled, "hidden_share": hidden})


SPOILING = (
    "rough_box", "cut", "occluded", "neighbour", "visible_box", "shrink", "blur", "noise", "jpeg"
)  # fmt: skip
"""Probabilities that AugmentConfig.eased lowers."""

WITHOUT_OCCLUDERS = {"occluded": 0.0, "neighbour": 0.0}
"""Fields of AugmentConfig that leave the object's photo free of anything pasted over it."""


class TrainConfig(BaseModel):
    """One training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str = "car"
    source: str = "stanford"
    split: str = "train-fit"
    views: Literal["all", "seen", "unseen"] = "all"
    also_source: str = Field(default="synth", description="source of a second data set")
    also_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the samples that are of a second data set"
    )
    width: int = Field(default=192, ge=32, multiple_of=32, description="crop width, pixels")
    height: int = Field(default=128, ge=32, multiple_of=32, description="crop height, pixels")
    features: int = Field(default=64, ge=1, description="channels of the feature map")
    context: int = Field(
        default=256, ge=0, description="channels that the viewpoint prior is read from; 0: no prior"
    )
    vertices: int = Field(default=1000, ge=8, description="about how many vertices the cuboid has")
    prototypes: int = Field(default=16, ge=0, description="clutter features; 0: no clutter model")
    contrast: bool = Field(
        default=True, description="False: features are drawn to their own vertex, from no other"
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    steps: int = Field(default=6000, ge=1, description="optimiser steps in all")
    warmup: int = Field(default=200, ge=0, description="steps of rising learning rate")
    decay: float = Field(
        default=0.3, ge=0, le=1, description="last share of the steps, in which the rate falls to 0"
    )
    batch: int = Field(default=32, ge=1)
    trunk_rate: float = 5e-4
    head_rate: float = 1.5e-3
    bank_rate: float = 5e-3
    weight_decay: float = 1e-4
    frozen_blocks: int = Field(
        default=3, ge=0, description="trunk blocks that keep their ImageNet weights"
    )
    average: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the exponential average of the weights"
    )
    temperature: float = Field(default=0.07, gt=0)
    picks: int = Field(
        default=128, ge=1, description="visible vertices per image in the vertex loss"
    )
    clutter_cells: int = Field(
        default=32, ge=1, description="cells off the object per image in its loss"
    )
    near: float = Field(
        default=0.1, description="vertices nearer than this (object units) do not compete"
    )
    twin_margin: float = Field(
        default=0.1, description="cosine added to vertices of the opposite view"
    )
    clutter_weight: float = 0.3
    pose_weight: float = Field(
        default=0.5, description="weight of the loss that compares whole poses"
    )
    pose_sharpness: float = Field(
        default=20.0, description="logit per unit of energy a covered cell"
    )
    learned: Literal["all", "viewpoint"] = Field(
        default="all", description="viewpoint: the prior alone, all other weights are kept"
    )
    viewpoint_weight: float = Field(
        default=1.0, description="weight of the loss of the viewpoint prior"
    )
    silhouettes: bool = Field(
        default=True,
        description="cells that the mesh covers but the object's CAD model does not are clutter",
    )
    azimuth_bins: int = Field(
        default=24, ge=2, description="views are balanced over this many bins"
    )
    balance: float = Field(
        default=0.75, ge=0, le=1, description="0: as the photos are, 1: every bin as often"
    )
    ease: int = Field(
        default=0,
        ge=0,
        description="steps over which occluders, neighbours, cuts and degradation set in, from "
        "none to what `augment` says: a curriculum (Bengio et al., ICML 2009)",
    )
    left_out: tuple[str, ...] = Field(
        default=(), description="names of photos not to train on, as those with a wrong label"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the backbone; auto: mixed on CUDA, float32 on CPUs"
    )
    subtype_balance: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="with several meshes; 0: as the photos are, 1: every sub-type as often",
    )
    symmetry: int = Field(
        default=1,
        ge=0,
        description="turns about z that leave the object as it is (see Card); vertices and poses "
        "that look alike do not compete",
    )
    others: int = Field(
        default=256,
        ge=0,
        description="with several categories: vertices of the others that a vertex competes with, "
        "drawn anew in each step",
    )
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _something_is_learned(self) -> TrainConfig:
        if self.learned == "viewpoint" and not self.context:
            raise ValueError('learned="viewpoint" needs a context')
        return self


def make_config(values: Mapping[str, Any], settings: Sequence[str] = ()) -> TrainConfig:
    """Make a TrainConfig of its fields, changed by settings as KEY=JSON ("augment.flip=0").

    Raises:
        NemoError: for a setting that is not JSON, not known or out of range.
    """
    fields = dict(values)
    for setting in settings:
        key, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise NemoError(f"--set {setting}: the value is not JSON ({error})") from error
        group, _, field = key.rpartition(".")
        target = fields if not group else fields.setdefault(group, {})
        if not isinstance(target, dict):
            raise NemoError(f"--set {setting}: {group} has no fields")
        target[field] = value
    try:
        return TrainConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise NemoError(f"--set: {field}: {first['msg']}") from error
