# SPDX-License-Identifier: Apache-2.0
"""A model on disk: backbone.onnx, neural_mesh.npz and card.json, checked when loaded."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nemo_model.calibration import Calibration
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.meshes.neural import NeuralSubtype, arrays_of, read_more
from nemo_model.symmetry import Symmetry
from nemo_model.viewpoint import Reader, read_reader, reader_arrays

CARD = "card.json"
BACKBONE: Final = "backbone.onnx"
SHARED: Final = "../backbone.onnx"
"""Where a bundle of a family has its backbone: beside the categories' folders."""
NEURAL_MESH = "neural_mesh.npz"
UNIT = 1e-2
"""How far from 1 the length of a stored feature may be."""


class BundleError(NemoError):
    """A model folder that is incomplete, altered or inconsistent."""


class SizePrior(BaseModel):
    """How large an object of the category is, and how sure that is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length_m: float = Field(gt=0, description="mean length along the object's y axis, metres")
    sigma: float = Field(
        ge=0, lt=1, description="standard deviation / mean, one number for all axes"
    )
    source: str = Field(description="where the two numbers come from")


class Card(BaseModel):
    """The model card: everything about a bundle that is not a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    category: str
    format: Literal[1] = 1
    width: int = Field(multiple_of=32, description="crop width, pixels")
    height: int = Field(multiple_of=32, description="crop height, pixels")
    features: int = Field(gt=0, description="channels of the feature map")
    backbone: Literal["backbone.onnx", "../backbone.onnx"] = Field(
        default="backbone.onnx",
        description="from the bundle's folder; ../ where a family shares it",
    )
    fill: float = Field(
        default=0.86, gt=0, le=1.2, description="share of the crop that the box fills"
    )
    size: SizePrior
    calibration: Calibration | None = None
    symmetry: int = Field(
        default=1,
        ge=0,
        description="turns about z that leave the object as it is: 1 none, n by 360 / n degrees, "
        "0 any",
    )
    mirror: bool = Field(
        default=False,
        description="left and right look alike, and mirrored photos were trained on: a global "
        "search looks at the mirror image too",
    )
    object_frame: str = "z up, front at -y, origin at the centre (PASCAL3D+)"
    data: str
    split: str
    seed: int
    command: str
    licence: str = Field(min_length=1)
    limits: str = ""
    training: dict[str, Any] = Field(description="the TrainConfig")
    metrics: dict[str, Any] = Field(default_factory=dict, description="written by the benchmark")
    sha256: dict[str, str] = Field(description="file name -> hash")


@dataclass(frozen=True)
class Bundle:
    """A loaded model.

    Attributes:
        folder: where it was read from.
        card: the model card.
        mesh: cuboid in object units (CAD diagonal 1).
        features: vertex features (V, C) float32, unit.
        clutter: clutter prototypes (M, C) float32, unit; M = 0: without a clutter model.
        outline: mean support points (P, 3), object units: what a detector's box encloses.
        subtype: the CAD model that `mesh` stands for; 0: for the whole category.
        more: further meshes, for other sub-types; the estimator takes the likeliest.
        reader: of the viewpoint prior; None: the backbone gives no context to read.
    """

    folder: Path
    card: Card
    mesh: Mesh
    features: npt.NDArray[np.float32]
    clutter: npt.NDArray[np.float32]
    outline: npt.NDArray[np.float64]
    subtype: int = 0
    more: tuple[NeuralSubtype, ...] = ()
    reader: Reader | None = None

    @property
    def meshes(self) -> tuple[NeuralSubtype, ...]:
        """All neural meshes; one where the bundle does not tell sub-types apart."""
        return (NeuralSubtype(self.subtype, self.mesh, self.features, self.outline), *self.more)

    @property
    def onnx_path(self) -> Path:
        return self.folder / self.card.backbone

    @property
    def metres_per_unit(self) -> float:
        """Metres per object unit, from the size prior and the meshes' mean length."""
        return self.card.size.length_m / float(self._extent[1])

    @property
    def size(self) -> npt.NDArray[np.float64]:
        """Extents (3,) along the object's x, y, z in metres."""
        return self._extent * self.metres_per_unit

    @property
    def _extent(self) -> npt.NDArray[np.float64]:
        return np.asarray(np.mean([each.mesh.extent for each in self.meshes], axis=0))

    @property
    def symmetry(self) -> Symmetry:
        """Turns that leave the object as it is."""
        return Symmetry(self.card.symmetry)

    @property
    def digest(self) -> str:
        """One sha256 for the whole bundle's weights, to publish."""
        joined = "".join(self.card.sha256[name] for name in sorted(self.card.sha256))
        return hashlib.sha256(joined.encode()).hexdigest()

    @staticmethod
    def load(folder: str | Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: when a file is missing or altered, a field of the card is missing or
                wrong, or the arrays do not fit together.
        """
        folder = Path(folder)
        card = read_card(folder)
        for path in (folder / card.backbone, folder / NEURAL_MESH):
            _check_hash(path, card.sha256.get(path.name), folder / CARD)
        try:
            with np.load(folder / NEURAL_MESH, allow_pickle=False) as data:
                mesh = Mesh(data["vertices"], data["faces"])
                features = np.ascontiguousarray(data["features"], dtype=np.float32)
                clutter = np.ascontiguousarray(data["clutter"], dtype=np.float32)
                outline = np.asarray(data["outline"], dtype=np.float64)
                subtype, more = read_more(data)
                reader = read_reader(data)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BundleError(f"{folder / NEURAL_MESH}: cannot be read ({error})") from error
        bundle = Bundle(folder, card, mesh, features, clutter, outline, subtype, more, reader)
        for each in bundle.meshes:
            one = replace(bundle, mesh=each.mesh, features=each.features, outline=each.outline)
            _check_shapes(one)
        return bundle


def read_card(folder: Path) -> Card:
    """Read card.json.

    Raises:
        BundleError: when it is missing, not JSON, or a field is missing or wrong.
    """
    path = folder / CARD
    if not path.is_file():
        known = categories(folder)
        if known:
            raise BundleError(
                f"{folder}: is a family of {', '.join(known)}; give the folder of one of them, as "
                f"{folder / known[0]} (the node and nemo replay take the whole family)"
            )
        raise BundleError(f"{path}: no such file; give the folder of a model bundle")
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        advice = "; fit it again with nemo calibrate" if field.startswith("calibration") else ""
        raise BundleError(f"{path}: {field}: {first['msg']}{advice}") from error


def categories(folder: Path) -> list[str]:
    """The folders below this one that hold a bundle over a backbone in this one, by name."""
    if not (folder / BACKBONE).is_file():
        return []
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD}"))


def write_bundle(bundle: Bundle, backbone: bytes) -> None:
    """Write a bundle's files; the card's sha256 is computed here."""
    bundle.folder.mkdir(parents=True, exist_ok=True)
    bundle.onnx_path.write_bytes(backbone)
    write_neural_mesh(bundle)


def write_neural_mesh(bundle: Bundle) -> None:
    """Write a bundle's files but the backbone, which is there; the card's sha256 is computed."""
    folder = bundle.folder
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / NEURAL_MESH,
        vertices=bundle.mesh.vertices.astype(np.float32),
        faces=bundle.mesh.faces,
        features=bundle.features,
        clutter=bundle.clutter,
        outline=bundle.outline.astype(np.float32),
        **arrays_of(bundle.subtype, bundle.more),
        **reader_arrays(bundle.reader),
    )
    hashes = {path.name: sha256(path) for path in (bundle.onnx_path, folder / NEURAL_MESH)}
    write_card(folder, bundle.card.model_copy(update={"sha256": hashes}))


def write_card(folder: Path, card: Card) -> None:
    """Write card.json."""
    text = json.dumps(json.loads(card.model_dump_json()), indent=2)
    (folder / CARD).write_text(text + "\n")


def sha256(path: Path) -> str:
    """Return a file's sha256, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_hash(path: Path, expected: str | None, card: Path) -> None:
    if expected is None:
        raise BundleError(f"{card}: sha256 has no entry for {path.name}")
    if not path.is_file():
        raise BundleError(f"{path}: no such file, but the card names it")
    found = sha256(path)
    if found != expected:
        raise BundleError(
            f"{path}: sha256 is {found[:12]}..., the card says {expected[:12]}...; "
            "the file does not belong to this card: export or fetch the bundle again"
        )


def _check_shapes(bundle: Bundle) -> None:
    vertices, channels = len(bundle.mesh.vertices), bundle.card.features
    path = bundle.folder / NEURAL_MESH
    if bundle.features.shape != (vertices, channels):
        raise BundleError(
            f"{path}: features have shape {bundle.features.shape}, the mesh and the card ask for "
            f"{(vertices, channels)}"
        )
    missing = not len(bundle.clutter) and bundle.card.training.get("prototypes") != 0
    if bundle.clutter.ndim != 2 or bundle.clutter.shape[1] != channels or missing:
        raise BundleError(
            f"{path}: clutter has shape {bundle.clutter.shape}, needs (M, {channels})"
        )
    if bundle.outline.ndim != 2 or bundle.outline.shape[1] != 3 or len(bundle.outline) < 4:
        raise BundleError(f"{path}: outline has shape {bundle.outline.shape}, needs (P >= 4, 3)")
    for name in ("features", "clutter", "outline"):
        if not np.isfinite(getattr(bundle, name)).all():
            raise BundleError(f"{path}: {name} hold NaN or infinite values")
    for name in ("features", "clutter"):
        if (np.abs(np.linalg.norm(getattr(bundle, name), axis=1) - 1.0) > UNIT).any():
            raise BundleError(f"{path}: {name} are not of unit length")
