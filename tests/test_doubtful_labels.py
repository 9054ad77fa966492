# SPDX-License-Identifier: Apache-2.0
"""Photos with a doubtful label: found in an evaluation, and left out of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import training_set
from loading import load_benchmark

from nemo_model.errors import NemoError
from nemo_model.training.loader import sample_maker


@pytest.fixture(scope="module")
def main(repository: Path) -> Callable[[list[str]], int]:
    found: Callable[[list[str]], int] = load_benchmark(repository, "doubtful_labels").main
    return found


def test_only_sure_and_gross_contradictions_are_doubtful(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("flip", 179.0, 0.9), ("unsure", 179.0, 0.4), ("right", 4.0, 0.9), ("side", 31.0, 0.5)]
    images = [{"name": n, "rotation_error_deg": e, "score": s} for n, e, s in rows]
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"images": images}))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.split() == ["flip", "side"]
    path.write_text("{}")
    assert main([str(path)]) == 2
    assert "fit.json" in capsys.readouterr().err
    assert main([str(tmp_path / "none.json")]) == 2


def test_photos_left_out_are_not_trained_on(tmp_path: Path) -> None:
    root = training_set.write(tmp_path)
    config = training_set.config()
    maker, _ = sample_maker(root, root / "photos", config)
    names = [item.name for item in maker.objects]
    some = config.model_copy(update={"left_out": tuple(names[:1])})
    assert names[1:] == [item.name for item in sample_maker(root, root / "photos", some)[0].objects]
    for wrong, text in ((("nobody",), "nobody"), (tuple(names), "all of them")):
        with pytest.raises(NemoError, match=text):
            sample_maker(root, root / "photos", config.model_copy(update={"left_out": wrong}))
