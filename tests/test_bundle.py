# SPDX-License-Identifier: Apache-2.0
"""A bundle that is whole loads as written; one that is not is refused by file and field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from nemo_model.bundle import (
    BACKBONE,
    CARD,
    NEURAL_MESH,
    Bundle,
    BundleError,
    read_card,
    write_card,
)
from nemo_model.errors import NemoError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole bundle to damage."""
    return tiny.write(tmp_path / "model")


def sign(folder: Path) -> None:
    """Make the card agree with the files as they are now."""
    text = json.loads((folder / CARD).read_text())
    for name in (BACKBONE, NEURAL_MESH):
        if (folder / name).exists():
            text["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps(text))


def change_arrays(folder: Path, **changes: Any) -> None:
    """Write other arrays (None leaves one out) and sign them."""
    with np.load(folder / NEURAL_MESH) as data:
        arrays = dict(data) | changes
    np.savez(folder / NEURAL_MESH, **{k: v for k, v in arrays.items() if v is not None})
    sign(folder)


def change_card(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    text = json.loads((folder / CARD).read_text())
    change(text)
    (folder / CARD).write_text(json.dumps(text))


def refusal(folder: Path, *words: str) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    for word in (str(folder), *words):
        assert word in message, message
    return message


# --- whole


def test_a_bundle_loads_as_it_was_written(folder: Path) -> None:
    bundle = Bundle.load(folder)
    mesh = tiny.mesh()
    np.testing.assert_allclose(bundle.mesh.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(bundle.mesh.faces, mesh.faces)
    np.testing.assert_array_equal(bundle.features, tiny.features_of(tiny.colours(mesh.vertices)))
    np.testing.assert_array_equal(bundle.clutter, tiny.clutter())
    assert bundle.features.dtype == bundle.clutter.dtype == np.float32
    assert bundle.outline.shape == (200, 3)
    assert bundle.onnx_path.read_bytes() == tiny.backbone()
    assert bundle.card.category == "car"
    assert Bundle.load(str(folder)).card == bundle.card


def test_sizes_come_from_the_length_along_y(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.metres_per_unit == pytest.approx(5.0)
    np.testing.assert_allclose(bundle.size, 5.0 * tiny.SIZE, rtol=1e-6)


def test_the_digest_names_the_weights_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    first = Bundle.load(folder).digest
    assert Bundle.load(tiny.write(tmp_path / "b", licence="another")).digest == first
    assert Bundle.load(tiny.write(tmp_path / "c", clutter=tiny.clutter()[:1])).digest != first


def test_a_card_survives_writing_and_reading(folder: Path) -> None:
    card = read_card(folder)
    changed = card.model_copy(update={"metrics": {"pi/6": 0.98}})
    write_card(folder, changed)
    assert read_card(folder) == changed
    assert Bundle.load(folder).card.metrics == {"pi/6": 0.98}


def test_loading_does_not_write(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    Bundle.load(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_refusals_are_errors_of_the_user() -> None:
    assert issubclass(BundleError, NemoError)


# --- files


def test_no_folder(tmp_path: Path) -> None:
    refusal(tmp_path / "none", CARD, "no such file", "give the folder")


@pytest.mark.parametrize("name", [CARD, BACKBONE, NEURAL_MESH])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refusal(folder, name, "no such file")


@pytest.mark.parametrize("name", [BACKBONE, NEURAL_MESH])
@pytest.mark.parametrize("at", [0, 1000, -1])
def test_one_altered_byte(folder: Path, name: str, at: int) -> None:
    data = bytearray((folder / name).read_bytes())
    data[at] ^= 1
    (folder / name).write_bytes(data)
    refusal(folder, name, "sha256", "does not belong to this card")


@pytest.mark.parametrize("name", [BACKBONE, NEURAL_MESH])
def test_a_card_that_does_not_vouch_for_a_file(folder: Path, name: str) -> None:
    change_card(folder, lambda card: card["sha256"].pop(name))
    refusal(folder, CARD, "sha256", name)


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_signed_but_truncated_mesh(folder: Path, keep: int) -> None:
    path = folder / NEURAL_MESH
    path.write_bytes(path.read_bytes()[:keep])
    sign(folder)
    refusal(folder, NEURAL_MESH, "cannot be read")


def test_arrays_with_code_in_them_are_not_run(folder: Path) -> None:
    change_arrays(folder, clutter=np.array([{"code": 1}], dtype=object))
    refusal(folder, NEURAL_MESH, "cannot be read")


# --- the card


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda card: card.update(colour="red"), "colour"),
        (lambda card: card["size"].update(height=2.0), "size.height"),
        (lambda card: card.update(licence=""), "licence"),
        (lambda card: card.pop("licence"), "licence"),
        (lambda card: card.pop("size"), "size"),
        (lambda card: card.pop("sha256"), "sha256"),
        (lambda card: card.update(width=200), "width"),
        (lambda card: card.update(height="tall"), "height"),
        (lambda card: card.update(features=0), "features"),
        (lambda card: card.update(fill=0.0), "fill"),
        (lambda card: card.update(format=2), "format"),
        (lambda card: card["size"].update(length_m=0.0), "size.length_m"),
        (lambda card: card["size"].update(length_m=float("nan")), "size.length_m"),
        (lambda card: card["size"].update(sigma=-0.1), "size.sigma"),
        (lambda card: card["size"].update(sigma=float("nan")), "size.sigma"),
    ],
)
def test_a_wrong_field(folder: Path, change: Callable[[dict[str, Any]], Any], field: str) -> None:
    change_card(folder, change)
    refusal(folder, CARD, f" {field}: ")


SOME = {"intercept": 0.0, "weights": {"a": 1.0}}
CALIBRATION = {
    "means": {"a": 0.0}, "deviations": {"a": 1.0}, "within_30": SOME, "within_10": SOME,
    "even_30": SOME, "even_10": SOME, "spread": {"curvature": 2.0}, "data": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"within_30": SOME | {"intercept": float("nan")}}, "calibration.within_30.intercept"),
        ({"even_10": SOME | {"weights": {"a": float("inf")}}}, "calibration.even_10.weights.a"),
        ({"deviations": {"a": 0.0}}, "deviations must be positive"),
        ({"means": {"b": 0.0}}, "same statistics"),
        ({"within_10": SOME | {"weights": {"b": 1.0}}}, "must name statistics"),
        ({"spread": {"curvature": 0.0}}, "calibration.spread.curvature"),
        ({"variance_scale": 2.0}, "fit it again with nemo calibrate"),  # of an older version
    ],
)
def test_a_calibration_that_cannot_be_used(folder: Path, change: Any, words: str) -> None:
    change_card(folder, lambda card: card.update(calibration=CALIBRATION))
    assert Bundle.load(folder).card.calibration is not None
    change_card(folder, lambda card: card.update(calibration=CALIBRATION | change))
    refusal(folder, CARD, words)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"width: 192"])
def test_a_card_that_is_no_card(folder: Path, text: bytes) -> None:
    (folder / CARD).write_bytes(text)
    refusal(folder, CARD)


# --- the arrays


@pytest.mark.parametrize("name", ["vertices", "faces", "features", "clutter", "outline"])
def test_a_missing_array(folder: Path, name: str) -> None:
    change_arrays(folder, **{name: None})
    refusal(folder, NEURAL_MESH, name)


@pytest.mark.parametrize("name", ["vertices", "features", "clutter", "outline"])
def test_nan_in_an_array(folder: Path, name: str) -> None:
    with np.load(folder / NEURAL_MESH) as data:
        values = data[name].copy()
    values[3 % len(values), 1] = np.nan
    change_arrays(folder, **{name: values})
    refusal(folder, NEURAL_MESH, name, "finite" if name == "vertices" else "NaN")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("features", tiny.features_of(tiny.colours(tiny.mesh().vertices))[:-1]),
        ("features", tiny.features_of(tiny.colours(tiny.mesh().vertices))[:, :3]),
        ("clutter", np.ones((2, 3))),
        ("clutter", np.zeros((0, tiny.CHANNELS))),
        ("clutter", np.ones(tiny.CHANNELS)),
        ("outline", np.zeros((3, 3))),
        ("outline", np.zeros((8, 2))),
        ("vertices", tiny.mesh().vertices[:, :2]),
    ],
)
def test_a_wrong_shape(folder: Path, name: str, values: np.ndarray) -> None:
    change_arrays(folder, **{name: values.astype(np.float32)})
    refusal(folder, NEURAL_MESH, name, "shape")


def test_a_card_with_another_number_of_channels(folder: Path) -> None:
    change_card(folder, lambda card: card.update(features=tiny.CHANNELS + 1))
    refusal(folder, NEURAL_MESH, "features", str(tiny.CHANNELS + 1))


def test_a_face_without_its_vertex(folder: Path) -> None:
    faces = tiny.mesh().faces.copy()
    faces[5, 1] = 10_000
    change_arrays(folder, faces=faces)
    refusal(folder, NEURAL_MESH, "a face names a vertex that does not exist")


@pytest.mark.parametrize("name", ["features", "clutter"])
def test_features_that_are_not_unit(folder: Path, name: str) -> None:
    with np.load(folder / NEURAL_MESH) as data:
        values = data[name].copy()
    values[0] *= 3.0
    change_arrays(folder, **{name: values})
    refusal(folder, NEURAL_MESH, name, "unit length")
