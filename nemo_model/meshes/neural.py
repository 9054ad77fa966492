# SPDX-License-Identifier: Apache-2.0
"""Several neural meshes in one bundle, one per CAD sub-type, over one backbone and clutter model.

The first is stored as the only one of other bundles is: vertices, faces, features, outline. A file
with more also holds `subtypes` (S,), the sub-types' numbers in order, and for the second and every
further one, by its number: vertices_5, faces_5, features_5, outline_5. What reads one mesh only
finds the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh

SUBTYPES = "subtypes"


@dataclass(frozen=True)
class NeuralSubtype:
    """One neural mesh.

    Attributes:
        subtype: number of the CAD model (cad_index) that it stands for; 0: for the category.
        mesh: in object units (CAD diagonal 1).
        features: vertex features (V, C) float32, unit.
        outline: (P, 3) object units: what a detector's box encloses.
    """

    subtype: int
    mesh: Mesh
    features: npt.NDArray[np.float32]
    outline: npt.NDArray[np.float64]


def arrays_of(first: int, more: Sequence[NeuralSubtype]) -> dict[str, Any]:
    """What the .npz holds besides the first mesh; nothing where there are no others."""
    if not more:
        return {} if first == 0 else {SUBTYPES: np.array([first], dtype=np.int32)}
    arrays: dict[str, Any] = {
        SUBTYPES: np.array([first, *(each.subtype for each in more)], dtype=np.int32)
    }
    for each in more:
        arrays[f"vertices_{each.subtype}"] = each.mesh.vertices.astype(np.float32)
        arrays[f"faces_{each.subtype}"] = each.mesh.faces
        arrays[f"features_{each.subtype}"] = each.features
        arrays[f"outline_{each.subtype}"] = each.outline.astype(np.float32)
    return arrays


def read_more(data: Mapping[str, Any]) -> tuple[int, tuple[NeuralSubtype, ...]]:
    """The first mesh's sub-type (0 where the file does not say) and the others.

    Raises:
        KeyError, ValueError: for what is missing or wrong.
    """
    if SUBTYPES not in data:
        return 0, ()
    numbers = np.asarray(data[SUBTYPES]).astype(int).tolist()
    if not isinstance(numbers, list) or not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"{SUBTYPES} are {numbers}, need one or more, each once")
    return numbers[0], tuple(
        NeuralSubtype(
            number,
            Mesh(data[f"vertices_{number}"], data[f"faces_{number}"]),
            np.ascontiguousarray(data[f"features_{number}"], dtype=np.float32),
            np.asarray(data[f"outline_{number}"], dtype=np.float64),
        )
        for number in numbers[1:]
    )
