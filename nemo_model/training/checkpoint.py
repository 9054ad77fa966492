# SPDX-License-Identifier: Apache-2.0
"""A training run on disk, between two of its steps or at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nemo_model.angles import AZIMUTH
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.meshes.meshset import WHOLE, MeshSet, split
from nemo_model.training.config import TrainConfig
from nemo_model.training.parts import whole


@dataclass(frozen=True)
class Checkpoint:
    """What a run leaves behind: enough to export, and to go on."""

    config: TrainConfig
    meshes: MeshSet
    step: int
    average: dict[str, Tensor]
    """Exponentially averaged weights of a NeuralMesh: what is exported."""
    resume: dict[str, Any]
    family: str = ""
    """Of several categories: their settings, see families.config. Empty: one category."""

    @property
    def mesh(self) -> Mesh:
        """The only mesh, or all of them as one: the rows of the bank."""
        return self.meshes.joined()[0]

    @property
    def outline(self) -> npt.NDArray[np.float64]:
        """(P, 3), of all meshes."""
        return np.concatenate([each.outline for each in self.meshes.meshes])

    @staticmethod
    def load(path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            NemoError: when the file is missing or not one of ours.
        """
        try:
            raw = torch.load(path, map_location="cpu", weights_only=True)
            config = TrainConfig.model_validate(_settings(raw))
            meshes = _meshes(config.category, raw)
            shown = raw["step"] * config.batch
            resume = dict(raw["resume"])
            if "model" in resume:
                resume["model"] = _counted(resume["model"], shown)
            average = _counted(raw["average"], shown)
            return Checkpoint(config, meshes, raw["step"], average, resume, raw.get("family", ""))
        except FileNotFoundError as error:
            raise NemoError(f"{path}: no such checkpoint") from error
        except Exception as error:  # torch.load raises many kinds on damaged files
            raise NemoError(f"{path}: is not a checkpoint of nemo train ({error})") from error

    def save(self, path: Path) -> None:
        raw = {
            "config": self.config.model_dump_json(),
            "vertices": torch.from_numpy(self.mesh.vertices),
            "faces": torch.from_numpy(self.mesh.faces),
            "outline": torch.from_numpy(self.outline),
            **_subtypes(self.meshes),
            "step": self.step,
            "average": self.average,
            "resume": self.resume,
        } | ({"family": self.family} if self.family else {})
        partial = path.with_suffix(".partial")
        torch.save(raw, partial)
        partial.replace(path)


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the TrainConfig; a checkpoint that lacks some is from before they were."""
    fields: dict[str, Any] = json.loads(raw["config"])
    bias = raw["average"].get("backbone.context.hidden.bias")
    return {"context": 0 if bias is None else len(bias), "silhouettes": False} | fields


def _counted(state: dict[str, Tensor], samples: int) -> dict[str, Tensor]:
    """The state with readers.count. One from before views were counted showed all alike often."""
    if "readers.weight" not in state or "readers.count" in state:
        return state
    categories = len(state["readers.weight"])
    each = samples / (categories * AZIMUTH.count)
    return state | {"readers.count": torch.full((categories, AZIMUTH.count), each)}


def _subtypes(meshes: MeshSet) -> dict[str, Any]:
    """What a checkpoint holds of several meshes besides their vertices; nothing for one of all."""
    if [each.subtype for each in meshes.meshes] == [WHOLE]:
        return {}
    points = [len(each.outline) for each in meshes.meshes]
    numbers = np.array([each.subtype for each in meshes.meshes])
    return {
        "kind": meshes.kind,
        "subtype": torch.from_numpy(meshes.joined()[1]),
        "outline_subtype": torch.from_numpy(np.repeat(numbers, points)),
    }


def _meshes(category: str, raw: Mapping[str, Any]) -> MeshSet:
    mesh, outline = Mesh(raw["vertices"].numpy(), raw["faces"].numpy()), raw["outline"].numpy()
    if "subtype" not in raw:
        return whole(category, mesh, outline)
    owners = raw["subtype"].numpy(), raw["outline_subtype"].numpy()
    return MeshSet(category, raw["kind"], split(mesh, owners[0], outline, owners[1]))
