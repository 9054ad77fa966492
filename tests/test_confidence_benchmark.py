# SPDX-License-Identifier: Apache-2.0
"""The report on the scores: what wrong labels cost, the tables, the picture, the document."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from nemo_model.errors import NemoError
from nemo_model.evaluation.calibrate import Trial, quality

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import confidence


def trial(name: str, level: int, error_deg: float, kind: str = "object") -> Trial:
    return Trial(kind, level, name, {}, error_deg, 0.0)


ROWS = [
    (trial("a", 0, 3.0), 0.95, 0.9, 2.0),
    (trial("b", 0, 170.0), 0.97, 0.9, math.nan),  # its label is wrong
    (trial("a", 3, 12.0), 0.8, 0.3, 5.0),
    (trial("b", 3, 175.0), 0.9, 0.6, math.nan),
    (trial("c", 3, 60.0), 0.2, 0.0, math.nan),
    (trial("a", 3, 20.0, "part"), 0.6, 0.2, 9.0),
    (Trial("other", -1, "x", {}, math.inf), 0.04, 0.0, math.nan),
]


@pytest.fixture
def document() -> dict[str, Any]:
    objects = [row for row in ROWS if row[0].kind == "object"]
    scores = [row[1] for row in objects]
    return {
        "model": {"name": "m", "sha256": "0" * 64}, "source": "s", "split": "val", "seed": 0,
        "quality": quality(ROWS), "even_views": {"auroc": 0.5, "ece": 0.1},
        "limits": confidence.limits(
            [row[0] for row in objects], scores, [0.1, 0.2, 0.3, 0.4, 0.5], frozenset({"b"})
        ),
    }  # fmt: skip


def test_what_wrong_labels_cost(document: dict[str, Any]) -> None:
    found = document["limits"]
    assert (found["wrong_at_L0"], found["wrong_labels"]) == (1, 1)
    assert (found["gross"], found["gross_by_labels"]) == (3, 2)
    assert found["turned_round"] == pytest.approx(2 / 3)
    assert found["labels"]["n"] == 3
    assert found["labels"]["auroc"] == 1.0  # 0.95 and 0.8 against 0.2
    assert found["even_labels"]["auroc"] == 0.0  # 0.1 and 0.3 against 0.5
    # a perfect score: right 1, c 0, b 1; pairs (2 right) x (b, b, c): (0.5 + 0.5 + 1) / 3
    assert found["perfect"] == pytest.approx(2 / 3)
    assert document["quality"]["objects"]["auroc"] == pytest.approx(3 / 6)


def test_the_list_of_wrong_labels_names_photos_of_its_splits() -> None:
    assert len(confidence.wrong_labels("stanford", "val")) == 9
    assert len(confidence.wrong_labels("stanford", "train-tune")) == 2
    assert confidence.wrong_labels("imagenet", "val") == frozenset()


def test_tables_document_and_picture(document: dict[str, Any], tmp_path: Path) -> None:
    text = confidence.markdown(document)
    assert "| L3 " in text
    assert "| other | 1 | 0.040 " in " ".join(text.split("  ")).replace("  ", " ")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{confidence.MARKS[0]}\nold\n{confidence.MARKS[1]}\nafter\n")
    for _ in range(2):
        confidence.write_doc(page, text)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1], lines.count("old")) == ("before", "after", 0)
    assert page.read_text().count(text) == 1
    page.write_text("no marks")
    with pytest.raises(NemoError, match="has no lines"):
        confidence.write_doc(page, text)
    confidence.draw(document["quality"], tmp_path / "deep" / "picture.png")
    assert (tmp_path / "deep" / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_the_shipped_documents_marks(repository: Path) -> None:
    page = (repository / "docs" / "confidence.md").read_text()
    assert all(page.count(mark) == 1 for mark in confidence.MARKS)


def test_without_data_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert confidence.main([]) == 0
    assert "nothing measured" in capsys.readouterr().out
