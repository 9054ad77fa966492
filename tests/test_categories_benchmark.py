# SPDX-License-Identifier: Apache-2.0
"""benchmarks/categories.py: a family of two on pictures of its cuboid, kept and told."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import training_set
import yaml
from pascal3d_files import write_set

from nemo_model.bundle import SHARED, Bundle, read_card
from nemo_model.family import write_family
from nemo_model.mesh import mean_outline


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    folder = str(repository / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("categories")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cars that the tiny model knows, vans that it does not, and a family of both."""
    root = tmp_path_factory.mktemp("categories")
    for category in ("car", "van"):
        training_set.write(root, category=category)
        write_set(root, "val", [f"{k:03d}" for k in range(4)], category=category)
    mesh = tiny.mesh()
    bundles = [
        Bundle(
            root / "family" / name, tiny.card(category=name, backbone=SHARED, symmetry=symmetry),
            mesh, tiny.features_of(tiny.colours(mesh.vertices)), tiny.clutter(),
            mean_outline([mesh]),
        )
        for name, symmetry in (("car", 1), ("van", 2))
    ]  # fmt: skip
    write_family(bundles, tiny.backbone())
    size = {"length_m": 4.3, "sigma": 0.1, "source": "made up"}
    members = [
        {"category": name, "root": "made", "source": "stanford", "licence": "none", "size": size}
        for name in ("car", "van", "bus")
    ]
    (root / "family.yaml").write_text(yaml.safe_dump({"categories": members}))
    return root


def words(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "--model", str(root / "family"), "--family", str(root / "family.yaml"),
        "--roots", f"made={root}", "--occluders", str(root / "photos"), "--work", str(out / "work"),
        "--out", str(out), "--levels", "0", "1", "--protocols", "paper", *more,
    ]  # fmt: skip


def test_categories_are_measured_once_and_kept(
    benchmark: ModuleType, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert benchmark.main(words(root, tmp_path)) == 0
    found = json.loads((tmp_path / "categories.json").read_text())["sets"]["own"]
    car, van = found["categories"]["car"], found["categories"]["van"]
    assert car["paper"]["L0"]["acc_pi_6"] == 1.0
    assert car["paper"]["L0"]["n"] == 4
    assert van["paper"]["L0"]["median_deg"] <= 90.0  # a half turn leaves it as it is
    both = found["mean"]["paper"]["L0"]
    assert both["acc_pi_6"] == pytest.approx(
        (car["paper"]["L0"]["acc_pi_6"] + van["paper"]["L0"]["acc_pi_6"]) / 2
    )
    text = (tmp_path / "categories.md").read_text()
    assert "| car " in text
    assert car["sha256"] in text
    assert "85.0: " in text
    assert str(root.parent) not in text
    assert benchmark.main(words(root, tmp_path / "train", "--split", "train")) == 0
    text = (tmp_path / "train" / "categories.md").read_text()
    assert "| mean " in text
    assert "asked" not in text  # nothing is, of what was learned from

    assert read_card(root / "family" / "van").metrics == {}

    def never(*_: Any) -> None:
        raise AssertionError("is evaluated again")

    import measured

    monkeypatch.setattr(measured.evaluate, "measure", never)
    monkeypatch.setattr(measured.occlude, "run", never)
    assert benchmark.main(words(root, tmp_path, "--write-card")) == 0
    told = read_card(root / "family" / "van").metrics
    assert told["paper"] == van["paper"]
    assert (told["set"], told["split"], told["seed"]) == ("own", "val", 0)
    with pytest.raises(AssertionError, match="again"):  # other objects
        benchmark.main(words(root, tmp_path, "--limit", "2"))


def test_another_set_stands_beside_the_first_and_lacks_a_category(
    benchmark: ModuleType, root: Path, tmp_path: Path
) -> None:
    other = training_set.write(tmp_path / "other")
    write_set(other, "val", ["000", "001"])
    more = ("--levels", "0")
    assert benchmark.main(words(root, tmp_path, *more, "--categories", "van")) == 0
    test = ("--set", "another", "--test", str(other), "--source", "stanford")
    assert benchmark.main(words(root, tmp_path, *more, *test)) == 0
    sets = json.loads((tmp_path / "categories.json").read_text())["sets"]
    assert list(sets) == ["own", "another"]
    assert list(sets["own"]["categories"]) == ["van"]
    assert list(sets["another"]["categories"]) == ["car"]
    assert "van" in sets["another"]["left_out"]


def test_what_is_missing_is_told(
    benchmark: ModuleType, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words(root, tmp_path)
    arguments[arguments.index(f"made={root}")] = "other=."
    assert benchmark.main(arguments) == 2
    assert "--roots made=DIR" in capsys.readouterr().err
    assert benchmark.main(words(root, tmp_path, "--categories", "bus")) == 2
    assert "none of its categories" in capsys.readouterr().err
    (tmp_path / "categories.json").write_text("[]")
    assert benchmark.main(words(root, tmp_path, "--levels", "0")) == 2
    assert "categories.json" in capsys.readouterr().err


def test_the_mean_counts_each_category_the_same(benchmark: ModuleType) -> None:
    errors = [np.array([1.0] * 30), np.array([50.0, 60.0])]
    row = benchmark._mean(errors, 0)
    assert row["n"] == 32
    assert row["acc_pi_6"] == 0.5
    assert row["median_deg"] == pytest.approx(28.0)
