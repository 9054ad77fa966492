# SPDX-License-Identifier: Apache-2.0
"""benchmarks/domain_gap.py: its rows on a tiny set, what they may not look at, the report."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import training_set
import yaml
from pascal3d_files import write_set

from nemo_model.errors import NemoError

SETTINGS = ("width=64", "height=64", "features=16", "vertices=150", "prototypes=4", "picks=32",
            "clutter_cells=8")  # fmt: skip


@pytest.fixture(scope="module")
def scripts(repository: Path) -> dict[str, ModuleType]:
    folder = str(repository / "benchmarks")
    sys.path.insert(0, folder)
    try:
        names = ("measured", "domain_rows", "domain_gap")
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pictures twice, as photos and as a rendered set."""
    folder = tmp_path_factory.mktemp("gap")
    real = training_set.write(folder / "real")
    write_set(real, "val", ["000", "001"])
    synth = folder / "synth"
    shutil.copytree(real, synth)
    for kind in ("Images", "Annotations"):
        (synth / kind / "car_stanford").rename(synth / kind / "car_synth")
    write_set(synth, "train", [f"{k:03d}" for k in range(8)], source="synth")
    return {"real": real, "synth": synth}


def plan_of(scripts: dict[str, ModuleType], roots: dict[str, Path], work: Path) -> Any:
    return scripts["domain_rows"].Plan(
        roots["real"], roots["synth"], roots["real"] / "photos", work, SETTINGS, steps=2, batch=2,
        few=3, few_steps=1, split="train", workers=0,
    )  # fmt: skip


def test_a_row_is_trained_measured_and_kept(
    scripts: dict[str, ModuleType], roots: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({
        "train_split": "train", "split": "val", "steps": 2, "batch": 2, "settings": list(SETTINGS),
    }))  # fmt: skip
    words = [
        "--real", str(roots["real"]), "--synth", str(roots["synth"]),
        "--backgrounds", str(roots["real"] / "photos"), "--work", str(tmp_path / "work"),
        "--out", str(tmp_path), "--config", str(config), "--workers", "0", "--rows",
    ]  # fmt: skip
    gap = scripts["domain_gap"]
    assert gap.main([*words, "adabn"]) == 0
    document = json.loads((tmp_path / "domain_gap.json").read_text())
    assert set(document["rows"]["adabn"]["columns"]) == {"real L0 paper", "real L0 robot"}
    assert len(document["rows"]["adabn"]["errors_deg"]["real L0 robot"].split()) == 2
    assert (tmp_path / "work" / "rendered-2-0" / "checkpoint.pt").is_file()

    from nemo_model.training import train as loop

    def never(*_: Any) -> None:
        raise AssertionError("is done again")

    monkeypatch.setattr(loop, "learn", never)
    monkeypatch.setattr(scripts["measured"].evaluate, "measure", never)
    assert gap.main([*words, "adabn"]) == 0
    assert str(tmp_path) not in (tmp_path / "domain_gap.json").read_text()
    assert gap.main([*words, "other"]) == 2
    assert gap.main([*words, "plain"]) == 2


def test_unlabelled_pictures_do_not_depend_on_the_poses(
    scripts: dict[str, ModuleType], roots: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from nemo_model.training import loader

    rows, plan = scripts["domain_rows"], plan_of(scripts, roots, tmp_path)
    before = rows.pictures(plan, roots["real"], "stanford", 6)
    assert before.shape == (6, 3, 64, 64)
    kept = loader._trained_on

    def other_poses(*arguments: Any) -> list[Any]:
        return [replace(each, azimuth=each.azimuth + 1.0, elevation=0.3)
                for each in kept(*arguments)]  # fmt: skip

    monkeypatch.setattr(loader, "_trained_on", other_poses)
    assert rows.pictures(plan, roots["real"], "stanford", 6).equal(before)


def test_few_photos_go_on_from_the_rendered_and_mixed_has_both(
    scripts: dict[str, ModuleType], roots: dict[str, Path], tmp_path: Path
) -> None:
    from nemo_model.training.checkpoint import Checkpoint

    rows, plan = scripts["domain_rows"], plan_of(scripts, roots, tmp_path)
    few = Checkpoint.load(rows.few(plan))
    assert len(few.config.left_out) == 5
    assert few.step == 1
    assert Checkpoint.load(plan.folder("rendered") / "checkpoint.pt").step == 2
    mixed = Checkpoint.load(rows.mixed(plan))
    assert mixed.step == 2
    with pytest.raises(NemoError, match="other settings"):
        rows.mixed(replace(plan, settings=(*SETTINGS, "temperature=0.1")))
    assert mixed.config.also_share == 0.5


def test_the_report_compares_with_rendered(scripts: dict[str, ModuleType]) -> None:
    gap, measured = scripts["domain_gap"], scripts["measured"]
    errors = {"real": [1.0] * 20, "rendered": [1.0] * 10 + [90.0] * 10,
              "adabn": [1.0] * 15 + [90.0] * 5}  # fmt: skip
    rows = {}
    for name, own in errors.items():
        document = {
            "images": [{"rotation_error_deg": e} for e in own], "objects": 20, "failed": 0,
            "flip_rate": 0.0, "confidence": {"auroc": None, "ece": None},
        }  # fmt: skip
        rows[name] = {"text": name, "columns": {"cars L0 robot": measured.figures(document)},
                      "errors_deg": {"cars L0 robot": " ".join(map(str, own))}}  # fmt: skip
    settings = {"real": "cars", "split": "val", "steps": 3, "batch": 2, "seed": 0, "few": 3,
                "few_steps": 1, "style": 0.7, "pictures": 4}  # fmt: skip
    text = gap.markdown({"settings": settings, "rows": rows})
    assert "| adabn " in text
    assert "+25.0 (" in text
    assert ", 50 %" in text
    assert np.isclose(rows["adabn"]["columns"]["cars L0 robot"]["acc_pi_6"], 0.75)
