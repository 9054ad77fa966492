# SPDX-License-Identifier: Apache-2.0
"""A category's own augmentation in a family's file, and what it does to cards and commands."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import training_set
import yaml

from nemo_model import cli
from nemo_model.errors import NemoError
from nemo_model.training.families.config import read_family
from nemo_model.training.families.export import member_card

BASE = training_set.config()
SIZE = {"length_m": 4.3, "sigma": 0.1, "source": "made up"}


def written(path: Path, augment: dict[str, Any]) -> Path:
    """A family of cars with an augmentation of their own, and vans without."""
    common = {"root": "made", "source": "stanford", "licence": "none", "size": SIZE}
    members = [common | {"category": "car", "augment": augment}, common | {"category": "van"}]
    path.write_text(yaml.safe_dump({"categories": members}))
    return path


def test_a_category_may_be_augmented_in_its_own_way(tmp_path: Path) -> None:
    path = written(tmp_path / "family.yaml", {"cut": 0.5, "style": 0.1})
    car, van = (each.config(BASE) for each in read_family(path).categories)
    assert (car.augment.cut, car.augment.style) == (0.5, 0.1)
    assert car.augment.model_copy(update={"cut": van.augment.cut, "style": 0.0}) == van.augment
    assert van.augment == BASE.augment


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "family.yaml", {"cutt": 0.5})
    with pytest.raises(NemoError, match=r"family\.yaml: categories\.0\.augment"):
        read_family(path)


def test_a_category_without_mirrored_pictures_is_not_looked_at_in_a_mirror(tmp_path: Path) -> None:
    path = written(tmp_path / "family.yaml", {"flip": 0.0})
    cards = [
        member_card(each, BASE, each.category, "c", 1) for each in read_family(path).categories
    ]
    assert [card.mirror for card in cards] == [False, True]


def test_no_occluders_and_an_own_augmentation_do_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "family.yaml", {"cut": 0.5})
    point = EntryPoint("train", "nemo_model.commands.train", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    arguments = ["train", "--family", path, "--roots", f"made={tmp_path}", "--backgrounds",
                 tmp_path, "--out", tmp_path / "out", "--no-occluders"]  # fmt: skip
    assert cli.main([str(each) for each in arguments]) != 0
    assert "--no-occluders" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--meshes", "--leave-out", "--save-every"])
def test_a_system_of_the_tables_is_trained_as_it_stands_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    """What it would pass over is refused."""
    point = EntryPoint("train", "nemo_model.commands.train", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    folders = ["--root", tmp_path, "--backgrounds", tmp_path, "--out", tmp_path / "out"]
    arguments = ["train", "--system", "nemo", *folders, option, "7"]
    assert cli.main([str(each) for each in arguments]) != 0
    assert f"{option}: 'nemo' is trained without" in capsys.readouterr().err
