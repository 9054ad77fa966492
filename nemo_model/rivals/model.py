# SPDX-License-Identifier: Apache-2.0
"""A trained rival on disk: rival.json and weights.pt, checked when loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nemo_model.bundle import SizePrior, sha256
from nemo_model.errors import NemoError
from nemo_model.rivals.classifier import Classifier
from nemo_model.rivals.starmap import StarMap
from nemo_model.training.config import TrainConfig

CARD, WEIGHTS = "rival.json", "weights.pt"
NETWORKS: dict[str, type[Classifier] | type[StarMap]] = {
    "res50-general": Classifier,
    "res50-specific": Classifier,
    "starmap": StarMap,
}


class RivalCard(BaseModel):
    """All of a rival but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    name: str
    category: str
    categories: tuple[str, ...] = Field(description="that the network was trained on")
    size: SizePrior
    lo: tuple[float, float, float] = Field(description="of the category's cuboid, object units")
    hi: tuple[float, float, float]
    outline: list[tuple[float, float, float]] = Field(description="what a detector's box encloses")
    fill: float = Field(default=0.86, gt=0, le=1.2, description="share of the crop the box fills")
    data: str
    training: TrainConfig
    sha256: str = Field(description="of weights.pt")


@dataclass(frozen=True)
class Rival:
    """A loaded rival: its card and its network, ready to look."""

    folder: Path
    card: RivalCard
    network: Classifier | StarMap

    @property
    def digest(self) -> str:
        """sha256 of the weights."""
        return self.card.sha256

    @property
    def outline(self) -> np.ndarray:
        """(P, 3) object units."""
        return np.array(self.card.outline)

    def save(self) -> None:
        """Write card and weights to the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.network.state_dict(), self.folder / WEIGHTS)
        card = self.card.model_copy(update={"sha256": sha256(self.folder / WEIGHTS)})
        (self.folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path, system: str) -> Rival:
        """Read a rival.

        Raises:
            NemoError: when a file is missing or altered, or it is a model of another system.
        """
        card = _read_card(folder)
        if card.system != system:
            raise NemoError(f"{folder}: is a model of '{card.system}', not of '{system}'")
        path = folder / WEIGHTS
        if not path.is_file():
            raise NemoError(f"{path}: no such file, but {CARD} is there; train again")
        if sha256(path) != card.sha256:
            raise NemoError(f"{path}: does not belong to {CARD} (sha256); train again")
        network = make_network(system, card.training)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except RuntimeError as error:
            raise NemoError(f"{path}: does not fit the system '{system}' ({error})") from error
        network.eval()
        return Rival(folder, card, network)


def make_network(system: str, config: TrainConfig) -> Classifier | StarMap:
    """A rival's network, with random weights."""
    return NETWORKS[system](config.height, config.width)


def _read_card(folder: Path) -> RivalCard:
    path = folder / CARD
    if not path.is_file():
        raise NemoError(f"{path}: no such file; give the model folder that nemo train wrote")
    try:
        return RivalCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NemoError(f"{path}: cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise NemoError(f"{path}: {field}: {first['msg']}") from error
