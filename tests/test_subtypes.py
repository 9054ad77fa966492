# SPDX-License-Identifier: Apache-2.0
"""Several neural meshes in one bundle: stored, read, and the likeliest taken, not the annotated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from nemo_model.bundle import Bundle, BundleError, write_bundle
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator, Given
from nemo_model.evaluation.evaluate import evaluate_one
from nemo_model.evaluation.samples import Sample
from nemo_model.mesh import Mesh, cuboid, mean_outline
from nemo_model.meshes.neural import NeuralSubtype
from nemo_model.pose import geodesic, rotation_from_angles, transform
from nemo_model.subtypes import likeliest

CAMERA = Camera(np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]), 640, 480)
T = transform(rotation_from_angles(0.6, 0.2, 0.0), np.array([0.3, 0.2, 12.0]))


def wrong() -> NeuralSubtype:
    """A cube, whose vertices look as the true cuboid's in other places do."""
    mesh = cuboid((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3), 800)
    mixed = np.random.default_rng(0).permutation(
        tiny.features_of(tiny.colours(tiny.mesh().vertices))
    )
    repeated = np.resize(mixed, (len(mesh.vertices), mixed.shape[1]))
    return NeuralSubtype(3, mesh, repeated, mean_outline([mesh]))


def right() -> NeuralSubtype:
    features = tiny.features_of(tiny.colours(tiny.mesh().vertices))
    return NeuralSubtype(7, tiny.mesh(), features, mean_outline([tiny.mesh()]))


def write(folder: Path, first: NeuralSubtype, *more: NeuralSubtype) -> Path:
    bundle = Bundle(
        folder, tiny.card(), first.mesh, first.features, tiny.clutter(), first.outline,
        first.subtype, more,
    )  # fmt: skip
    write_bundle(bundle, tiny.backbone())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "two", wrong(), right())


def test_the_greatest_total_wins_and_the_first_of_equals() -> None:
    def solution(energy: float, total: float | None = None) -> SimpleNamespace:
        return SimpleNamespace(energy=energy, total=total)

    assert likeliest([solution(e) for e in (1.0, 3.0, 2.0)]) == 1  # type: ignore[list-item]
    assert likeliest([solution(e) for e in (-1.0, -1.0)]) == 0  # type: ignore[list-item]
    boxed = [solution(2.0, 0.5), solution(1.0, 0.9)]  # the second fits the box better
    assert likeliest(boxed) == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no solution"):
        likeliest([])


# --- the bundle


def test_several_meshes_are_read_as_written(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert [each.subtype for each in bundle.meshes] == [3, 7]
    for found, written in zip(bundle.meshes, (wrong(), right()), strict=True):
        np.testing.assert_allclose(found.mesh.vertices, written.mesh.vertices, atol=1e-7)
        np.testing.assert_array_equal(found.mesh.faces, written.mesh.faces)
        np.testing.assert_array_equal(found.features, written.features)
        np.testing.assert_allclose(found.outline, written.outline, atol=1e-7)
    length = (0.6 + tiny.SIZE[1]) / 2  # the prior's length is the meshes' mean one
    assert bundle.metres_per_unit == pytest.approx(tiny.card().size.length_m / length)


def test_a_bundle_of_one_mesh_is_stored_as_ever(tmp_path: Path) -> None:
    one = tiny.write(tmp_path / "one")
    with np.load(one / "neural_mesh.npz") as data:
        assert set(data) == {"vertices", "faces", "features", "clutter", "outline"}
    bundle = Bundle.load(one)
    assert (bundle.subtype, bundle.more, len(bundle.meshes)) == (0, (), 1)
    named = write(tmp_path / "named", right())  # one mesh that stands for one CAD model
    assert [each.subtype for each in Bundle.load(named).meshes] == [7]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subtypes": np.array([3, 3])}, "each once"),
        ({"subtypes": np.array([3, 9])}, "vertices_9"),
        ({"features_7": np.ones((4, tiny.CHANNELS))}, "features have shape"),
        ({"features_7": 2 * right().features}, "not of unit length"),
        ({"outline_7": np.zeros((2, 3))}, "outline has shape"),
    ],
)
def test_a_further_mesh_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], words: str
) -> None:
    folder = write(tmp_path / "m", wrong(), right())
    with np.load(folder / "neural_mesh.npz") as data:
        arrays = dict(data) | changes
    np.savez(folder / "neural_mesh.npz", **arrays)
    sign(folder)
    with pytest.raises(BundleError, match=rf"neural_mesh\.npz: .*{words}"):
        Bundle.load(folder)


def sign(folder: Path) -> None:
    from nemo_model.bundle import BACKBONE, NEURAL_MESH, read_card, sha256, write_card

    hashes = {name: sha256(folder / name) for name in (BACKBONE, NEURAL_MESH)}
    write_card(folder, read_card(folder).model_copy(update={"sha256": hashes}))


# --- the estimator


def scaled_photo(estimator: Estimator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true cuboid where this bundle's metres put it: its unit is not tiny's."""
    image, box = tiny.photo(CAMERA, T)
    truth = T.copy()
    truth[:3, 3] *= estimator.metres_per_unit / tiny.METRES_PER_UNIT
    return image, box, truth


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_likeliest_mesh_answers(tmp_path: Path, order: tuple[int, int]) -> None:
    """Whichever comes first in the bundle, and cold as well as warm."""
    meshes = (wrong(), right())
    estimator = Estimator.load(write(tmp_path / "m", *(meshes[k] for k in order)))
    image, box, truth = scaled_photo(estimator)
    cold = estimator.estimate(image, CAMERA.K, box)
    warm = estimator.estimate(image, CAMERA.K, box, prior=truth)
    for estimate in (cold, warm):
        assert estimate.subtype == 7
        assert np.degrees(geodesic(estimate.rotation, truth[:3, :3])) < 5.0
        np.testing.assert_allclose(estimate.size, tiny.SIZE * estimator.metres_per_unit, rtol=1e-5)
    alone = Estimator.load(write(tmp_path / "alone", wrong())).estimate(image, CAMERA.K, box)
    assert alone.energy < cold.energy


def test_one_mesh_answers_as_it_does_alone(folder: Path, tmp_path: Path) -> None:
    """Told the sub-type, the estimator is the one of a bundle that has this mesh only."""
    both = Estimator.load(folder)
    image, box, truth = scaled_photo(both)
    centre, distance = CAMERA.project(T[None, :3, 3])[0], truth[2, 3] / both.metres_per_unit
    for subtype in (3, 7):
        told = both.estimate(image, CAMERA.K, box, given=Given(centre, distance, subtype))
        assert told.subtype == subtype
        one = next(each for each in (wrong(), right()) if each.subtype == subtype)
        alone = Estimator.load(write(tmp_path / str(subtype), one))
        expected = alone.estimate(image, CAMERA.K, box, given=Given(centre, distance))
        assert told.energy == pytest.approx(expected.energy)
        np.testing.assert_allclose(told.rotation, expected.rotation, atol=1e-9)
    with pytest.raises(NemoError, match=r"no mesh of sub-type 5; there are 3, 7"):
        both.estimate(image, CAMERA.K, box, given=Given(centre, distance, 5))


def test_a_known_size_stretches_every_mesh(folder: Path) -> None:
    estimator = Estimator.load(folder, size_m=(1.8, 4.4, 1.5))
    for variant in estimator.variants:
        np.testing.assert_allclose(variant.size, (1.8, 4.4, 1.5))
        assert variant.size_sigma == 0.0
    assert isinstance(estimator.variants[1].mesh, Mesh)
    assert estimator.variants[0] is estimator


def test_only_the_protocol_of_that_name_is_told_the_sub_type(folder: Path) -> None:
    """The annotation names the wrong mesh on purpose: who takes it was told."""
    estimator = Estimator.load(folder)
    image, box, truth = scaled_photo(estimator)
    sample = Sample(
        "a", 0, Path("a"), lambda: image, CAMERA.K, box,
        transform(truth[:3, :3], truth[:3, 3] / estimator.metres_per_unit), metric=False, subtype=3,
    )  # fmt: skip
    taken = {
        protocol: evaluate_one(estimator, sample, protocol).subtype
        for protocol in ("robot", "paper", "paper-subtype")
    }
    assert taken == {"robot": 7, "paper": 7, "paper-subtype": 3}
    bare = replace(sample, subtype=0)  # not annotated: found by likelihood
    assert evaluate_one(estimator, bare, "paper-subtype").subtype == 7
