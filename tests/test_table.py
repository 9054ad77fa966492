# SPDX-License-Identifier: Apache-2.0
"""`nemo table` through the command line, with fake systems on a small real data set."""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import training_set
from fake_systems import Calls, erring, failing, of_another_category, seeing

from nemo_model import cli, systems
from nemo_model.commands import table as command
from nemo_model.comparison import output
from nemo_model.comparison.config import for_kind
from nemo_model.comparison.plan import make_plan
from nemo_model.comparison.store import Store

Table = Callable[..., int]
COUNT = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("cars"), COUNT)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    made = [
        erring("nemo", 1.5, calls),
        erring("other", 8.5, calls),
        seeing("nemo-tiny", calls),
        failing("broken"),
        of_another_category("buses", calls),
    ]
    monkeypatch.setattr(systems, "SYSTEMS", {each.name: each for each in made})
    return calls


@pytest.fixture
def drawing(photos: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> Table:
    """nemo table with the small set; later options go before these."""
    from importlib.metadata import EntryPoint

    points = [EntryPoint("table", "nemo_model.commands.table", cli.GROUP)]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)

    def run(kind: str, *words: object) -> int:
        base = ("--root", photos, "--backgrounds", photos / "photos", "--train-split", "train",
                "--split", "train", "--systems", "nemo,other", "--steps", "3", "--batch", "2",
                "--resamples", "200", "--examples", "0")  # fmt: skip
        return cli.main([str(word) for word in ("table", kind, *base, *words)])

    return run


@pytest.fixture
def nemo(drawing: Table, monkeypatch: pytest.MonkeyPatch) -> Table:
    """The same without the plots: they take a second, and most tests look elsewhere."""
    monkeypatch.setattr(output, "make_plots", lambda *_: {})
    return drawing


def rows_of(out: Path, kind: str) -> list[dict[str, str]]:
    with (out / kind / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_whole_table(drawing: Table, calls: Calls, tmp_path: Path) -> None:
    assert drawing("occlusion", "--out", tmp_path, "--seeds", 0, 1) == 0
    # two systems, with and without occluders, two seeds
    assert calls.trained == {"nemo": 4, "other": 4}
    # four levels of eight objects, one more each that is not timed
    assert calls.estimates == 8 * 4 * (COUNT + 1)
    rows = rows_of(tmp_path, "occlusion")
    assert len(rows) == 4 * 4 * 3
    first = rows[0]
    assert (first["system"], first["column"], first["metric"]) == ("nemo", "L0", "acc_pi_6")
    assert (first["objects"], first["seeds"], first["steps"]) == (str(COUNT), "0 1", "3")
    assert (first["difference"], first["verdict"]) == ("", "")
    # errors: 1.5 + 0, 3, 6, 9 degrees, two of each; 2 more for seed 1: 6 of 8 below 10 for both
    near = next(r for r in rows if (r["system"], r["metric"], r["column"],
                r["occluders_in_training"]) == ("nemo", "acc_pi_18", "L0", "1"))  # fmt: skip
    assert float(near["value"]) == pytest.approx((6 + 6) / 16)
    other = next(r for r in rows if (r["system"], r["metric"], r["column"],
                 r["occluders_in_training"]) == ("other", "median_deg", "L3", "0"))  # fmt: skip
    assert float(other["difference"]) == pytest.approx(7.0, abs=1e-4)  # 8.5 - 1.5 degrees
    assert other["verdict"] == "behind"
    assert float(other["training_seconds"]) == 12.0  # as the system recorded
    report = (tmp_path / "occlusion" / "report.md").read_text()
    said = ("stanford/train", "3 steps x 2 samples", "seed(s) 0, 1", "which training pastes too",
            "not comparable", "without occluders in training", "The paper's figures",
            "What occluders in training give")  # fmt: skip
    assert [text for text in said if text not in report] == []
    for name in re.findall(r"!\[.*\]\((plots/.*)\)", report):
        assert cv2.imread(str(tmp_path / "occlusion" / name)) is not None
    assert "steps: 3" in (tmp_path / "occlusion" / "config.yaml").read_text()


def test_the_page_is_self_contained(drawing: Table, tmp_path: Path) -> None:
    assert drawing("occlusion", "--out", tmp_path, "--systems", "nemo-tiny,other",
                "--augment", "with", "--protocol", "both", "--examples", 1) == 0  # fmt: skip
    page = (tmp_path / "occlusion" / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 7  # three plots per protocol, and the examples
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|url\(|@import|<script|<link", page)
    for name in (tmp_path / "occlusion" / "plots").iterdir():
        assert name.name in page


def test_examples_show_what_is_hidden(nemo: Table, tmp_path: Path) -> None:
    words = ("--systems", "nemo-tiny,other", "--augment", "with", "--examples", 3)
    assert nemo("occlusion", "--out", tmp_path, *words) == 0
    pictures = sorted(p.name for p in (tmp_path / "occlusion" / "plots").glob("examples*"))
    assert pictures == ["examples-nemo-tiny-with-occluders-car.png"]
    sheet = cv2.imread(str(tmp_path / "occlusion" / "plots" / pictures[0]))
    width = sheet.shape[1] // 4
    orange = [np.all(np.abs(sheet[:, k * width : (k + 1) * width].astype(int) - (24, 96, 255)) < 60,
                     axis=2).sum() for k in range(4)]  # fmt: skip
    assert orange[3] > orange[0]  # L3 shows more that is left to the background
    # the tiny model looks at the pictures: it finds the unhidden cuboids
    rows = rows_of(tmp_path, "occlusion")
    assert float(rows[0]["value"]) > 0.8
    assert (rows[0]["system"], rows[0]["column"]) == ("nemo-tiny", "L0")


def test_nothing_is_done_twice(nemo: Table, calls: Calls, tmp_path: Path) -> None:
    assert nemo("occlusion", "--out", tmp_path) == 0
    before, trained, estimates = files(tmp_path), calls.trained.copy(), calls.estimates
    assert nemo("occlusion", "--out", tmp_path) == 0
    assert (calls.trained, calls.estimates) == (trained, estimates)
    assert files(tmp_path) == before
    # another table of the same runs trains only what is new
    assert nemo("ablation", "--out", tmp_path, "--systems", "nemo", "--augment", "with") == 0
    assert (calls.trained, calls.estimates) == (trained, estimates)
    assert nemo("occlusion", "--out", tmp_path, "--seeds", 0, 1) == 0
    assert calls.trained == {"nemo": 4, "other": 4}


def test_another_number_of_steps_is_another_run(nemo: Table, calls: Calls, tmp_path: Path) -> None:
    words = ("--out", tmp_path, "--systems", "nemo", "--augment", "with")
    assert nemo("occlusion", *words) == 0
    assert nemo("occlusion", *words, "--steps", 4) == 0
    assert calls.trained == {"nemo": 2}
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert nemo("occlusion", *words, "--set", "features=32") == 0
    assert calls.trained == {"nemo": 3}


def test_a_killed_run_goes_on(nemo: Table, calls: Calls, tmp_path: Path) -> None:
    calls.fail_at = 3  # the third training, after its first step
    assert nemo("occlusion", "--out", tmp_path) == 130
    assert not (tmp_path / "occlusion").exists()
    assert nemo("occlusion", "--out", tmp_path) == 0
    assert calls.trained == {"nemo": 3, "other": 2}  # the third was begun twice
    assert calls.steps_taken.count("nemo") == 2 * 3  # and no step was done twice
    assert calls.estimates == 4 * 4 * (COUNT + 1)


def test_a_killed_evaluation_goes_on(
    nemo: Table, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Store.write_result

    def stop(self: Store, *words: Any) -> Any:
        if len(list((tmp_path / "evaluations").glob("*/*.json"))) == 5:
            raise KeyboardInterrupt
        return written(self, *words)

    monkeypatch.setattr(Store, "write_result", stop)
    assert nemo("occlusion", "--out", tmp_path) == 130
    monkeypatch.setattr(Store, "write_result", written)
    assert nemo("occlusion", "--out", tmp_path) == 0
    assert calls.trained == {"nemo": 2, "other": 2}
    assert calls.estimates == (4 * 4 + 1) * (COUNT + 1)  # the one that was cut short, again


def test_results_of_other_models_or_data_are_made_again(
    nemo: Table, calls: Calls, tmp_path: Path, photos: Path
) -> None:
    words = ("--out", tmp_path, "--systems", "nemo", "--augment", "with")
    assert nemo("occlusion", *words) == 0
    once = calls.estimates
    result = next(iter((tmp_path / "evaluations").glob("*/car-L1-*.json")))
    result.write_text(result.read_text()[:100])  # damaged
    assert nemo("occlusion", *words) == 0
    assert calls.estimates == once + COUNT + 1
    weights = next(iter(tmp_path.glob("runs/*/model/trained/weights.txt")))
    weights.write_text(weights.read_text() + "changed\n")
    assert nemo("occlusion", *words) == 0
    assert calls.trained == {"nemo": 2}  # its files are not those that were written down
    assert calls.estimates == once + COUNT + 1  # trained again to the same bytes: results hold
    for path in tmp_path.glob("evaluations/*/*.json"):
        document = json.loads(path.read_text())
        document["asked"]["model"] = "0" * 64
        path.write_text(json.dumps(document))
    assert nemo("occlusion", *words) == 0
    assert calls.estimates == 2 * once + COUNT + 1


def test_results_carry_every_object(nemo: Table, tmp_path: Path) -> None:
    assert nemo("occlusion", "--out", tmp_path, "--limit", 5) == 0
    names = set()
    for path in tmp_path.glob("evaluations/*/*.json"):
        document = json.loads(path.read_text())
        assert [type(line["rotation_error_deg"]) for line in document["images"]] == [float] * 5
        names.add(tuple(line["name"] for line in document["images"]))
    assert len(names) == 1  # every level and system: the same five
    assert len(list((tmp_path / "occluded" / "lists").iterdir())) == 3


def test_copies_at_hand_are_used(nemo: Table, tmp_path: Path) -> None:
    assert nemo("occlusion", "--out", tmp_path / "a", "--systems", "nemo") == 0
    copies = tmp_path / "a" / "occluded"
    before = files(copies)
    assert nemo("occlusion", "--out", tmp_path / "b", "--systems", "nemo",
                "--occluded-root", copies) == 0  # fmt: skip
    assert not (tmp_path / "b" / "occluded").exists()
    assert files(copies) == before
    assert "the occluded copies in occluded" in (tmp_path / "b/occlusion/report.md").read_text()
    (copies / "lists" / "carFGL2_BGL2.txt").unlink()
    assert nemo("occlusion", "--out", tmp_path / "c", "--occluded-root", copies) == 2


def test_made_copies_depend_on_the_seed(nemo: Table, tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert nemo("occlusion", "--out", tmp_path / out, "--systems", "nemo") == 0
    assert files(tmp_path / "a" / "occluded") == files(tmp_path / "b" / "occluded")
    config = tmp_path / "config.yaml"
    config.write_text("occlusion_seed: 1\n")
    images = tmp_path / "a" / "occluded" / "images"
    before = files(images)
    assert nemo("occlusion", "--out", tmp_path / "a", "--systems", "nemo", "--config", config) == 0
    after = files(images)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in after)


def test_unseen_trains_on_seen_views(nemo: Table, tmp_path: Path) -> None:
    assert nemo("unseen", "--out", tmp_path) == 0
    runs = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/run.json")]
    assert {run["views"] for run in runs} == {"seen"}
    rows = rows_of(tmp_path, "unseen")
    counts = {row["column"]: int(row["objects"]) for row in rows}
    assert set(counts) == {"seen", "unseen"}
    assert sum(counts.values()) == COUNT
    assert not (tmp_path / "occluded").exists()


def test_mesh_has_both_of_the_papers_protocols(nemo: Table, tmp_path: Path) -> None:
    assert nemo("mesh", "--out", tmp_path, "--systems", "nemo,other") == 0
    assert {row["protocol"] for row in rows_of(tmp_path, "mesh")} == {"paper", "paper-subtype"}


def test_plan_says_and_does_nothing(
    nemo: Table, calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nemo("occlusion", "--out", tmp_path, "--plan") == 0
    text = capsys.readouterr().out
    assert calls.trained == {}
    assert list(tmp_path.iterdir()) == []
    assert text.count("nemo-car-all-occ-3x2-s0-") == 1
    assert "Occluded copies to make: 3" in text
    assert "a guess" in text
    assert nemo("occlusion", "--out", tmp_path) == 0
    capsys.readouterr()
    assert nemo("occlusion", "--out", tmp_path, "--plan", "--seeds", 0, 1) == 0
    text = capsys.readouterr().out
    assert text.count("| done ") == 4
    assert "as measured in this folder" in text
    assert f"| {12 / 6 * 6:.0f} s " in text  # 12 s for 6 samples, as the first seed took


def test_report_of_what_is_there(nemo: Table, calls: Calls, tmp_path: Path) -> None:
    calls.fail_at = 2
    assert nemo("occlusion", "--out", tmp_path) == 130
    before = calls.trained.copy()
    assert nemo("occlusion", "--out", tmp_path, "--report") == 0
    assert calls.trained == before
    report = (tmp_path / "occlusion" / "report.md").read_text()
    assert "Evaluations done: 4 of 16" in report
    assert "not trained" in report


def test_a_system_that_fails_stops_no_other(
    nemo: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--out", tmp_path, "--systems", "broken,nemo", "--augment", "with")
    assert nemo("occlusion", *words) == 2
    assert "keypoints: none given" in capsys.readouterr().err
    report = (tmp_path / "occlusion" / "report.md").read_text()
    assert "**Not complete:**" in report
    assert {row["system"] for row in rows_of(tmp_path, "occlusion")} == {"nemo"}
    page = (tmp_path / "occlusion" / "report.html").read_text()
    assert "keypoints: none given" in page


def test_a_run_of_another_process_is_left_alone(
    nemo: Table, calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--out", tmp_path, "--systems", "nemo", "--augment", "with")
    assert nemo("occlusion", *words) == 0
    name = next(iter((tmp_path / "runs").iterdir())).name
    with Store(tmp_path).lock(name) as mine:
        assert mine
        assert nemo("occlusion", *words) == 2
    assert "another process is at it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--systems", "nemo,nerf"), "system 'nerf' is not known; choose one of nemo"),
        (("--root", "/nowhere"), "/nowhere: no such folder"),
        (("--backgrounds", "/nowhere"), "/nowhere: no such folder of photos"),
        (("--category", "car", "--category", "bus"), "bus_stanford_train.txt"),
        (("--category", "car", "--category", "car"), "categories: Value error, names one twice"),
        (("--steps", "0"), "steps: Input should be greater than or equal to 1"),
        (("--systems", ","), "systems: Tuple should have at least 1 item"),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml: cannot be read as YAML"),
        (("--systems", "buses"), "is a model of 'bus', not of 'car'"),
    ],
)
def test_errors_say_what_to_do(
    nemo: Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    text: str,
) -> None:
    assert nemo("occlusion", "--out", tmp_path, *words) == 2
    assert text in capsys.readouterr().err


def test_root_must_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(ValueError, match="--root: give it"):
        command.make_config(parser.parse_args(["mesh", "--out", str(tmp_path)]))


def test_a_level_of_other_images_is_made_again(nemo: Table, tmp_path: Path) -> None:
    words = ("--out", tmp_path, "--systems", "nemo", "--augment", "with")
    assert nemo("occlusion", *words, "--limit", 3) == 0
    listed = tmp_path / "occluded" / "lists" / "carFGL1_BGL1.txt"
    assert len(listed.read_text().split()) == 3
    assert nemo("occlusion", *words) == 0
    assert len(listed.read_text().split()) == COUNT
    assert nemo("occlusion", *words, "--limit", 3) == 0  # among those that are there
    assert len(listed.read_text().split()) == COUNT


def test_one_classifier_is_both_general_and_specific_where_there_is_one_category(
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {"root": tmp_path, "backgrounds": tmp_path, "augment": "with"}
    values["systems"] = ("res50-general", "res50-specific")
    one = make_plan(for_kind("occlusion", values))
    assert [run.system for run in one.runs()] == ["res50-specific"]
    assert [row.system for row in one.rows] == ["res50-general", "res50-specific"]
    two = make_plan(for_kind("occlusion", values | {"categories": ("car", "bus")}))
    assert [run.system for run in two.runs()] == ["res50-general", "res50-specific"]


def test_keypoints_train_nobody_anew_who_does_not_need_them(tmp_path: Path) -> None:
    values: dict[str, Any] = {"root": tmp_path, "backgrounds": tmp_path, "augment": "with"}
    values["systems"] = ("nemo", "starmap")
    without = make_plan(for_kind("occlusion", values)).runs()
    told = make_plan(for_kind("occlusion", values | {"keypoints": tmp_path / "k.json"})).runs()
    assert without[0] == told[0]
    assert without[1] != told[1]
