# SPDX-License-Identifier: Apache-2.0
"""benchmarks/without_class.py: accuracy with a class of photos left out, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loading import load_benchmark


def test_a_class_is_left_out_and_shown_alone(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = load_benchmark(repository, "without_class")
    errors = {"a": 5.0, "b": 20.0, "c": None, "d": 40.0, "e": 1.0}
    images = [{"name": name, "rotation_error_deg": error} for name, error in errors.items()]
    (tmp_path / "r.json").write_text(json.dumps({"images": images}))
    rows = ["name,class", "a,VW Beetle", "b,Audi", "c,Audi", "d,BMW", "e,BMW"]
    (tmp_path / "classes.csv").write_text("\n".join(rows) + "\n")
    words = [str(tmp_path / "r.json"), "--classes", str(tmp_path / "classes.csv")]
    assert benchmark.main([*words, "--without", "Beetle"]) == 0
    assert "without 50.0 / 25.0 (n = 4), alone 100.0 / 100.0 (n = 1)" in capsys.readouterr().out
    assert benchmark.main([*words, "--without", "Lada"]) == 0
    assert "without 60.0 / 40.0 (n = 5), alone none" in capsys.readouterr().out
