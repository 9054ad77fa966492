# SPDX-License-Identifier: Apache-2.0
"""What nemo table writes of known results: plan, keys, Markdown, CSV, page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_systems import Calls, erring

from nemo_model import systems
from nemo_model.comparison import csvfile
from nemo_model.comparison.cells import make_cells
from nemo_model.comparison.config import as_yaml, for_kind, read_values
from nemo_model.comparison.plan import Column, Evaluation, Plan, Row, key, make_plan
from nemo_model.comparison.report import make_report, markdown
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.store import Trained
from nemo_model.comparison.webpage import webpage
from nemo_model.errors import NemoError

MACHINE = {"processor": "A CPU", "cores": 2, "threads": 1, "gpus": []}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [erring(name, 1.0, Calls()) for name in ("nemo", "other")]
    monkeypatch.setattr(systems, "SYSTEMS", {each.name: each for each in made})


def a_plan(kind: str = "occlusion", **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "root": "cars", "backgrounds": "photos", "systems": ("nemo", "other"), "levels": (0, 3),
        "augment": "with", "resamples": 400, "occluded_root": "hidden",
    }  # fmt: skip
    return make_plan(for_kind(kind, values | changes))


def an_outcome(plan: Plan, errors: dict[tuple[str, str, str, int], list[float]]) -> Outcome:
    """Results of lists of errors by system, category, column and seed."""
    outcome = Outcome()
    for (name, category, column_name, seed), values in errors.items():
        run = plan.run(Row(name, True), seed)
        outcome.trained[run] = Trained(Path("m"), "ab" * 32, 90.0, MACHINE)
        column = next(each for each in plan.columns if each.name == column_name)
        lines = [{"rotation_error_deg": v, "azimuth_deg": 10.0 * k} for k, v in enumerate(values)]
        evaluation = Evaluation(run, category, column, "paper")
        outcome.results[evaluation] = {"images": lines}
    return outcome


KNOWN = {
    ("nemo", "car", "L0", 0): [1.0] * 4,
    ("other", "car", "L0", 0): [1.0, 1.0, 1.0, 1.0],
    ("nemo", "car", "L3", 0): [5.0] * 4,
    ("other", "car", "L3", 0): [50.0] * 4,
}


def test_csv_of_known_results() -> None:
    plan = a_plan()
    outcome = an_outcome(plan, KNOWN)
    lines = csvfile.text(plan, outcome, make_cells(plan, outcome)).splitlines()
    start = "occlusion,cars,stanford,val,paper"
    assert lines[0] == (
        "kind,data,source,split,protocol,system,occluders_in_training,column,category,metric,"
        "value,low,high,difference,difference_low,difference_high,verdict,objects,seeds,steps,"
        "batch,training_seconds"
    )
    # all of four right: Wilson's lower limit is 1 / (1 + 1.96^2 / 4)
    assert lines[1] == (
        f"{start},nemo,1,L0,car,acc_pi_6,1.000000,0.510100,1.000000,,,,,4,0,600,32,90"
    )
    assert lines[6] == (
        f"{start},other,1,L0,car,median_deg,1.000000,1.000000,1.000000,0.000000,0.000000,0.000000,"
        "undecided,4,0,600,32,90"
    )
    assert lines[10] == (
        f"{start},other,1,L3,car,acc_pi_6,0.000000,0.000000,0.489900,-1.000000,-1.000000,"
        "-1.000000,behind,4,0,600,32,90"
    )
    assert len(lines) == 1 + 4 * 3


def test_markdown_of_known_results() -> None:
    plan = a_plan()
    outcome = an_outcome(plan, {k: v for k, v in KNOWN.items() if k[:3] != ("other", "car", "L0")})
    text = markdown(make_report(plan, outcome, make_cells(plan, outcome)))
    caption = (
        "cars, stanford/val, car; trained on train-fit, 600 steps x 32 samples per category, "
        "seed(s) 0, on A CPU, 2 core(s), 1 thread(s), no GPU. L1 to L3: the occluded copies in "
        "hidden. Figures on other data, splits, occluders or protocols are not comparable with "
        "these."
    )
    golden = f"""
## Rotation error below 30 degrees (pi/6), % of the objects: protocol paper

{caption}

|                                   | L0, n = 4             | L3, n = 4             | seeds | minutes of training |
|-----------------------------------|-----------------------|-----------------------|-------|---------------------|
| Nemo, with occluders in training  | 100.0 (51.0 to 100.0) | 100.0 (51.0 to 100.0) | 1     | 1.5                 |
| Other, with occluders in training | -                     | 0.0 (0.0 to 49.0)     | 1     | 1.5                 |
"""  # noqa: E501
    assert golden in text
    gap = next(line for line in text.splitlines() if "| pi/6, points" in line)
    assert [cell.strip() for cell in gap.split("|")[1:-1]] == [
        "Other, with occluders in training", "pi/6, points", "-",
        "-100.0 (-100.0 to -100.0) behind",
    ]  # fmt: skip
    assert "| nemo-car-all-occ-600x32-s0-" in text
    assert "1.5     | A CPU, 2 core(s), 1 thread(s), no GPU | abababababab" in text
    ours, _, papers = text.partition("## The paper's figures, on PASCAL3D+")
    assert "86.7 / 63.2" in papers
    assert "86.7 / 63.2" not in ours
    assert "Not comparable" in papers


def test_what_occluders_in_training_give() -> None:
    plan = a_plan(augment="both", levels=(0,))
    outcome = an_outcome(plan, {("nemo", "car", "L0", 0): [1.0, 1.0]})
    run = plan.run(Row("nemo", False), 0)
    lines = [{"rotation_error_deg": 20.0, "azimuth_deg": 0.0}] * 2
    outcome.results[Evaluation(run, "car", plan.columns[0], "paper")] = {"images": lines}
    cells = {cell.row: cell for cell in make_cells(plan, outcome)}
    gain = cells[Row("nemo", True)].gains["median_deg"]
    assert (gain.value, gain.low, gain.high) == (-19.0, -19.0, -19.0)
    assert cells[Row("nemo", False)].gains == {}
    assert cells[Row("nemo", True)].gaps == {}
    text = markdown(make_report(plan, outcome, list(cells.values())))
    table = text.partition("## What occluders in training give")[2].partition("## ")[0]
    assert "| Nemo, with occluders in training  | median, degrees | -19.0" in table
    assert "| Other, with occluders in training | median, degrees | - " in table


def test_the_page_shows_what_the_markdown_shows() -> None:
    plan = a_plan()
    outcome = an_outcome(plan, KNOWN)
    outcome.problems.append("starmap: <no keypoints>")
    names = ("paper-accuracy.png", "examples-nemo.png")
    report = make_report(plan, outcome, make_cells(plan, outcome), names)
    page = webpage(report, {name: b"\x89PNG" + name.encode() for name in names})
    assert "starmap: &lt;no keypoints&gt;" in page
    assert page.count("data:image/png;base64,iVBOR") == 2
    for block in report.blocks:
        for cell in (cell for row in block.rows for cell in row):
            assert cell.replace("&", "&amp;").replace("'", "&#x27;") in page
    assert "http" not in page
    with pytest.raises(KeyError):
        webpage(report, {})


def test_categories_are_weighted_by_their_objects() -> None:
    plan = a_plan(categories=("car", "bus"), levels=(0,))
    cars, buses = [1.0] * 6, [90.0] * 2
    known = {("nemo", "car", "L0", 0): cars, ("nemo", "bus", "L0", 0): buses}
    outcome = an_outcome(plan, known)
    cells = make_cells(plan, outcome)
    found = {cell.category: cell.figures["acc_pi_6"].value for cell in cells}
    assert found == {"all": 0.75, "car": 1.0, "bus": 0.0}
    text = markdown(make_report(plan, outcome, cells))
    assert "By category, L0: protocol paper" in text
    assert "| 100.0 / 100.0 | 0.0 / 0.0 |" in text
    incomplete = an_outcome(plan, {("nemo", "car", "L0", 0): cars})
    assert [cell.category for cell in make_cells(plan, incomplete)] == ["car"]


def test_only_whole_seeds_count() -> None:
    plan = a_plan(seeds=(0, 1), levels=(0,))
    known = {("nemo", "car", "L0", 0): [1.0, 40.0], ("nemo", "car", "L0", 1): [1.0, 2.0]}
    (cell,) = make_cells(plan, an_outcome(plan, known))
    assert (cell.seeds, cell.figures["acc_pi_6"].value) == ((0, 1), 0.75)
    del known["nemo", "car", "L0", 1]
    (cell,) = make_cells(plan, an_outcome(plan, known))
    assert (cell.seeds, cell.figures["acc_pi_6"].value) == ((0,), 0.5)


def test_the_first_system_is_the_reference_where_nemo_is_absent() -> None:
    assert a_plan().reference == "nemo"
    assert a_plan(systems=("other",)).reference == "other"


def test_every_field_of_a_run_names_another_folder() -> None:
    plan = a_plan()
    run = plan.run(plan.rows[0], 0)
    changed = [
        replace(run, root=Path("vans")), replace(run, backgrounds=Path("walls")),
        replace(run, categories=("bus",)), replace(run, source="imagenet"),
        replace(run, split="train"), replace(run, views="seen"), replace(run, occluders=False),
        replace(run, seed=1), replace(run, steps=601), replace(run, batch=16),
        replace(run, system="other"), replace(run, settings=("features=32",)),
        replace(run, keypoints=Path("k.json")), replace(run, backbone="lite1"),
    ]  # fmt: skip
    keys = {key(each) for each in [run, *changed]}
    assert len(keys) == len(changed) + 1
    assert all("/" not in name for name in keys)
    assert key(run) == key(replace(run, root=Path("cars").resolve()))  # the same folder


def test_rows_and_columns_by_kind() -> None:
    unseen = a_plan("unseen")
    assert list(unseen.columns) == [
        Column("seen", 0, "seen"), Column("unseen", 0, "unseen"),
    ]  # fmt: skip
    assert unseen.run(unseen.rows[0], 0).views == "seen"
    both = a_plan("ablation", augment="both")
    assert [(row.system, row.occluders) for row in both.rows] == [
        ("nemo", True), ("other", True), ("nemo", False), ("other", False),
    ]  # fmt: skip
    assert for_kind("mesh", {"root": "a", "backgrounds": "b"}).protocols == (
        "paper",
        "paper-subtype",
    )


def test_config_comes_back_from_what_is_written(tmp_path: Path) -> None:
    config = a_plan(seeds=(0, 2), settings=("features=32",)).config
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(config))
    assert for_kind("occlusion", read_values(path)) == config
    with pytest.raises(NemoError, match=r"here: sedes: Extra inputs"):
        for_kind("occlusion", {"root": "a", "backgrounds": "b", "sedes": [1]}, "here")
    path.write_text("- a\n")
    with pytest.raises(NemoError, match=r"config\.yaml: must be a mapping"):
        read_values(path)


@pytest.mark.parametrize("name", ["pascal3d", "stanford"])
def test_shipped_recipes_are_valid(repository: Path, name: str) -> None:
    path = repository / "config" / f"{name}.yaml"
    values = read_values(path) | {"root": "a", "backgrounds": "b"}
    for kind in ("occlusion", "unseen", "mesh", "ablation"):
        config = for_kind(kind, values, str(path))
        assert config.protocols[0] == "paper"
    assert len(config.categories) == (12 if name == "pascal3d" else 1)
    assert yaml.safe_load(path.read_text())["split"] == "val"
