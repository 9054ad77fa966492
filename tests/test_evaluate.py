# SPDX-License-Identifier: Apache-2.0
"""`nemo evaluate`: the figures, what each protocol may know, the JSON, and the shipped model."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pascal3d_files import small_set, write_kitti
from scipy.spatial.transform import Rotation

from nemo_model.commands import evaluate as command
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.kitti import Kitti
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Given
from nemo_model.evaluation import metrics
from nemo_model.evaluation.evaluate import evaluate
from nemo_model.evaluation.samples import Sample, from_kitti, from_pascal3d
from nemo_model.evaluation.summary import summarise
from nemo_model.mesh import Mesh, cuboid
from nemo_model.symmetry import NONE, Symmetry

CARS = [
    "Car 0.00 0 0 560 160 660 230 1.5 1.7 4.2 0.1 1.6 15.0 -1.57",
    "Car 0.00 2 0 300 160 330 185 1.5 1.7 4.2 -12 1.6 40.0 1.57",
    "Car 0.50 1 0 1000 160 1239 370 1.5 1.7 4.2 5 1.6 8.0 0.3",
    "Car 0.00 1 0 700 160 760 201 1.5 1.7 4.2 4 1.6 25.0 0.3",
]


@dataclass
class Double:
    """An estimator that knows the truth and errs by a given rotation, for the code around it."""

    truth: list[Sample]
    error_deg: dict[str, float] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    mesh: Mesh = field(default_factory=lambda: cuboid((-0.2, -0.4, -0.1), (0.2, 0.4, 0.3), 60))
    metres_per_unit: float = 5.0
    category: str = "car"
    calls: list[tuple[np.ndarray, np.ndarray, Given | None]] = field(default_factory=list)
    bundle: Any = field(
        default_factory=lambda: SimpleNamespace(
            card=SimpleNamespace(name="double"), digest="0" * 64
        )
    )
    extractor: Any = field(default_factory=lambda: SimpleNamespace(provider="none"))
    symmetry: Symmetry = NONE

    def estimate(
        self, image: Any, K: Any, box: Any, *, prior: Any = None, given: Any = None
    ) -> Any:
        assert prior is None
        assert image.dtype == np.uint8
        self.calls.append((np.asarray(K), np.asarray(box), given))
        sample = next(s for s in self.truth if np.array_equal(s.box, box) and self._same(s, image))
        if sample.name in self.refuses:
            raise NemoError("box: no")
        turn = Rotation.from_rotvec([0, 0, math.radians(self.error_deg.get(sample.name, 0.0))])
        T = sample.T_cam_obj.copy()
        T[:3, :3] = T[:3, :3] @ turn.as_matrix()
        return SimpleNamespace(
            T_cam_obj=T, score=0.75, score_10=0.5, subtype=0,
            covariance=np.eye(6), visible_fraction=0.5,
            milliseconds={"crop": 1.0, "features": 2.0, "solve": 3.0, "total": 6.0},
        )  # fmt: skip

    @staticmethod
    def _same(sample: Sample, image: np.ndarray) -> bool:
        return bool(np.array_equal(sample.read_image(), image))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("cars"))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kitti(tmp_path_factory.mktemp("street"), {"000000": CARS})


def test_accuracy_median_and_flips() -> None:
    errors = [1.0, 9.9, 10.0, 29.0, 30.0, 149.0, 150.0, 180.0]
    assert metrics.accuracy(errors, metrics.PI_6) == 0.5
    assert metrics.accuracy(errors, metrics.PI_18) == 0.25
    assert metrics.median(errors) == 29.5
    assert metrics.flip_rate(errors) == 0.25
    assert math.isnan(metrics.accuracy([], 30))
    assert math.isnan(metrics.median([]))


def test_wilson_interval_of_a_known_case() -> None:
    low, high = metrics.wilson(81, 263)  # Newcombe, Statistics in Medicine 17 (1998), table I
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert metrics.wilson(0, 20) == (pytest.approx(0.0), pytest.approx(0.1611, abs=1e-4))
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="right = 3"):
        metrics.wilson(3, 2)


def test_azimuth_bins_are_centred() -> None:
    bins = [metrics.azimuth_bin(a) for a in (0, 22, 23, 90, 180, 337, 338, 359.9)]
    assert bins == [0, 0, 1, 2, 4, 7, 0, 0]


def test_confidence_figures() -> None:
    right = [True, True, False, False]
    assert metrics.auroc([0.9, 0.8, 0.2, 0.1], right) == 1.0
    assert metrics.auroc([0.9, 0.2, 0.8, 0.1], right) == 0.75
    assert metrics.auroc([0.5] * 4, right) == 0.5
    assert math.isnan(metrics.auroc([0.5], [True]))
    assert metrics.calibration_error([0.95] * 10, [True] * 9 + [False]) == pytest.approx(0.05)
    assert metrics.log_loss([0.5, 0.5], [True, False]) == pytest.approx(math.log(2))


@pytest.mark.parametrize(("order", "error"), [(1, 170.0), (2, 10.0), (0, 0.0)])
def test_of_poses_that_look_alike_the_nearest_counts(
    photos: Path, order: int, error: float
) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)[:1]
    double = Double(samples, {samples[0].name: 170.0})
    double.symmetry = Symmetry(order)
    (found,) = evaluate(double, samples, "robot")
    assert found.rotation_error_deg == pytest.approx(error, abs=1e-4)
    expected = math.radians(error) ** 2
    assert found.rotation_nees == pytest.approx(expected, abs=1e-6)  # of a unit covariance


def test_an_objects_own_symmetry_goes_before_its_categorys(photos: Path) -> None:
    """A round table among tables, a plain one among bottles."""
    sample = from_pascal3d(Pascal3D(photos, "car", split="val").objects)[0]
    for own, models, error in ((0, 2, 0.0), (1, 0, 170.0), (None, 2, 10.0)):
        told = [replace(sample, symmetry=own)]
        double = Double(told, {sample.name: 170.0}, symmetry=Symmetry(models))
        (found,) = evaluate(double, told, "robot")
        assert found.rotation_error_deg == pytest.approx(error, abs=1e-4)


def test_errors_are_measured_and_tabled(photos: Path) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)
    double = Double(samples, {"00001": 5.0, "00002": 20.0, "00003": 40.0, "00004": 179.0})
    document = summarise(list(evaluate(double, samples, "robot")))
    errors = [line["rotation_error_deg"] for line in document["images"]]
    assert errors == pytest.approx([5.0, 20.0, 40.0, 179.0, 0.0, 0.0], abs=1e-5)
    assert document["acc_pi_6"] == pytest.approx(4 / 6)
    assert document["acc_pi_18"] == pytest.approx(3 / 6)
    assert document["median_error_deg"] == pytest.approx(12.5)
    assert document["flip_rate"] == pytest.approx(1 / 6)
    assert document["ms"] == {"crop": 1.0, "features": 2.0, "solve": 3.0, "total": 6.0}
    # azimuths 5, 65, 125, ...: the bins of 0, 45, 135, 180, 225 (two of 245 and 305 -> 315)
    counts = {row["azimuth_deg"]: row["n"] for row in document["azimuth_bins"]}
    assert counts == {0: 1, 45: 1, 90: 0, 135: 1, 180: 1, 225: 1, 270: 0, 315: 1}
    by_azimuth = {row["azimuth_deg"]: row["acc_pi_6"] for row in document["azimuth_bins"]}
    assert (by_azimuth[135], by_azimuth[180], by_azimuth[90]) == (0.0, 0.0, None)
    assert document["azimuth_mean"]["acc_pi_6"] == pytest.approx(4 / 6)


def test_robot_is_told_nothing_but_box_and_camera(photos: Path) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)
    double = Double(samples)
    list(evaluate(double, samples, "robot"))
    assert len(double.calls) == len(samples) + 1  # one more, not timed
    for (K, box, given), sample in zip(double.calls[1:], samples, strict=True):
        assert given is None
        assert K.tolist() == sample.K.tolist()
        assert box.tolist() == sample.box.tolist()


def test_paper_is_told_centre_and_distance(photos: Path, street: Path) -> None:
    objects = Pascal3D(photos, "car", split="val").objects
    double = Double(from_pascal3d(objects))
    list(evaluate(double, double.truth, "paper"))
    given = double.calls[1][2]
    assert given is not None
    assert given.centre == pytest.approx(objects[0].principal_point)
    assert given.distance == pytest.approx(objects[0].distance)
    cars = Kitti(street)
    double = Double(from_kitti(cars.objects))
    list(evaluate(double, double.truth, "paper"))
    given = double.calls[1][2]
    assert given is not None
    u, v, w = cars[0].K @ cars[0].T_cam_obj[:3, 3]
    assert given.centre == pytest.approx([u / w, v / w])
    assert given.distance == pytest.approx(15.0 / 5.0)  # metres to object units
    with pytest.raises(NemoError, match="'cheat'"):
        list(evaluate(double, double.truth, "cheat"))


def test_street_tables_and_position_error(street: Path) -> None:
    samples = from_kitti(Kitti(street).objects)
    document = summarise(list(evaluate(Double(samples), samples, "robot")))
    # the double's cuboid is centred 0.1 units = 0.5 m above its origin
    assert [line["position_error_m"] for line in document["images"]] == pytest.approx([0.5] * 4)
    assert [line["occluded"] for line in document["images"]] == [0, 2, 1, 1]
    assert [line["truncated"] for line in document["images"]] == [0, 0, 0.5, 0]
    assert [line["height_px"] for line in document["images"]] == [70, 25, 210, 41]
    assert [line["object"] for line in document["images"]] == [0, 1, 2, 3]
    tables = document["street"]
    assert tables["headline"]["n"] == 2
    assert [row["n"] for row in tables["by_occlusion"]] == [1, 2, 1, 0]
    assert [row["n"] for row in tables["by_height"]] == [0, 1, 2, 1]
    assert tables["truncated"]["n"] == 1


def test_refused_objects_count_as_wrong(photos: Path) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)
    double = Double(samples, refuses=frozenset({"00002"}))
    document = summarise(list(evaluate(double, samples, "robot")))
    assert document["failed"] == 1
    assert document["acc_pi_6"] == pytest.approx(5 / 6)
    line = document["images"][1]
    assert (line["failure"], line["rotation_error_deg"], line["score"]) == ("box: no", 180.0, 0.0)
    assert line["ms"] is None


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    root = small_set(tmp_path, 2)
    samples = from_pascal3d(Pascal3D(root, "car", split="val").objects)
    (root / "Images" / "car_stanford" / "00002.JPEG").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"00002\.JPEG"):
        list(evaluate(Double(samples), samples, "robot"))


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_writes_json_and_prints_tables(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)
    double = Double(samples, {"00001": 40.0})
    monkeypatch.setattr(command.Estimator, "load", lambda *a, **k: double)
    out = tmp_path / "deep" / "result.json"
    words = ("--model", "m", "--root", photos, "--split", "val", "--json", out)
    assert command.run(arguments(*words)) == 0
    document = json.loads(out.read_text())
    assert document["model"] == {"name": "double", "sha256": "0" * 64}
    assert (document["protocol"], document["split"], document["level"]) == ("robot", "val", 0)
    assert document["objects"] == document["labelled"] == 6
    for line in document["images"]:
        assert {"name", "rotation_error_deg", "score", "ms"} <= set(line)
    printed = capsys.readouterr().out
    assert "83.3" in printed
    assert "pi/18" in printed
    names = []
    for _ in range(2):
        command.run(arguments(*words, "--limit", 3, "--seed", 5))
        names.append([line["name"] for line in json.loads(out.read_text())["images"]])
    assert names[0] == names[1]
    assert len(names[0]) == 3


def test_command_refuses_what_does_not_fit(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="belong together"):
        command.run(arguments("--model", "m", "--root", photos, "--level", 1))
    with pytest.raises(DatasetError, match="not of kitti"):
        command.run(arguments("--model", "m", "--root", photos, "--dataset", "kitti",
                              "--occluded-root", photos, "--level", 1))  # fmt: skip
    double = Double([], category="chair")
    monkeypatch.setattr(command.Estimator, "load", lambda *a, **k: double)
    with pytest.raises(DatasetError, match=r"'chair'.*'car'"):
        command.run(arguments("--model", "m", "--root", photos))


@pytest.fixture(scope="module")
def model(repository: Path) -> Path:
    folder = repository / "models" / "car"
    if not (folder / "card.json").is_file():
        pytest.fail("models/car is shipped, and is missing in this checkout")
    return folder


@pytest.mark.parametrize(("protocol", "least"), [("robot", 0.9), ("paper", 0.9)])
def test_shipped_model_on_new_cars(
    model: Path, shared_data: Path, tmp_path: Path, protocol: str, least: float
) -> None:
    root = shared_data / "stanford_cars3d"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    documents = []
    for k in range(2):
        out = tmp_path / f"{k}.json"
        command.run(arguments("--model", model, "--root", root, "--limit", 40, "--protocol",
                              protocol, "--json", out))  # fmt: skip
        documents.append(json.loads(out.read_text()))
    assert documents[0]["acc_pi_6"] >= least
    assert documents[0]["median_error_deg"] < 10
    for document in documents:  # the same but for the clock
        document.pop("ms")
        for line in document["images"]:
            line.pop("ms")
    assert documents[0] == documents[1]


def test_shipped_model_on_the_street(model: Path, shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "kitti_cars"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    out = tmp_path / "kitti.json"
    command.run(arguments("--model", model, "--root", root, "--dataset", "kitti", "--json", out))
    document = json.loads(out.read_text())
    assert document["objects"] == 39
    headline = document["street"]["headline"]
    assert headline["n"] == 14
    assert headline["acc_pi_6"] > 0.5
    assert headline["median_position_error_m"] < 3.0
    for line in document["images"]:
        assert {"occluded", "truncated", "height_px", "position_error_m"} <= set(line)
