# SPDX-License-Identifier: Apache-2.0
"""A second data set among the samples of the first."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_set
import yaml

from nemo_model import cli
from nemo_model.errors import NemoError
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.families.config import read_family
from nemo_model.training.families.train import family_maker
from nemo_model.training.loader import sample_maker
from nemo_model.training.mixed import Mixed, maker_of
from nemo_model.training.train import train


@dataclass(frozen=True)
class Named:
    name: str

    def __call__(self, index: int) -> Any:
        return self.name, index


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def also(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of other pictures, and of a taller object."""
    return training_set.write(tmp_path_factory.mktemp("also"), count=5, subtypes=2)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_of_the_second_is_drawn_by_seed_and_number(share: float) -> None:
    mixed = Mixed(Named("first"), Named("second"), share, seed=3)  # type: ignore[arg-type]
    drawn = [mixed(k) for k in range(2000)]
    assert [number for _, number in drawn] == list(range(2000))
    assert [name for name, _ in drawn].count("second") == pytest.approx(2000 * share, abs=70)
    assert drawn == [mixed(k) for k in range(2000)]
    other = Mixed(Named("first"), Named("second"), share, seed=4)  # type: ignore[arg-type]
    assert drawn != [other(k) for k in range(2000)]


def test_each_sample_is_as_its_own_data_set_makes_it_over_the_mesh_of_the_first(
    root: Path, also: Path
) -> None:
    config = training_set.config(also_source="stanford", also_share=0.5, left_out=("003",))
    mixed = maker_of(root, also, root / "photos", config, quiet=True)
    alone = sample_maker(root, root / "photos", config, quiet=True)[0]
    assert isinstance(mixed, Mixed)
    for one, other in zip(mixed.meshes.meshes, alone.meshes.meshes, strict=True):
        np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    seconds = [k for k in range(20) if mixed.is_second(k)]
    assert 0 < len(seconds) < 20
    for k in range(20):
        same = np.array_equal(mixed(k).image, alone(k).image)
        assert same == (k not in seconds)


def test_left_out_photos_are_those_of_the_first(root: Path, also: Path) -> None:
    """007 is in the first alone: the second must not be searched for it."""
    config = training_set.config(also_source="stanford", also_share=0.5, left_out=("007",))
    mixed = maker_of(root, also, root / "photos", config, quiet=True)
    assert isinstance(mixed, Mixed)
    assert [len(each.objects) for each in mixed.makers] == [7, 5]  # type: ignore[attr-defined]


def test_a_run_over_two_data_sets_differs_from_one_and_is_said_in_its_settings(
    root: Path, also: Path, tmp_path: Path
) -> None:
    config = training_set.config(steps=2, also_source="stanford", also_share=0.5)
    path = train(root, root / "photos", tmp_path / "two", config, workers=0, also=also)
    again = train(root, root / "photos", tmp_path / "again", config, workers=0, also=also)
    one = training_set.config(steps=2)
    alone = train(root, root / "photos", tmp_path / "one", one, workers=0)
    found, same, other = (Checkpoint.load(each).average for each in (path, again, alone))
    assert all(found[name].equal(same[name]) for name in found)
    assert not found["bank.raw_theta"].equal(other["bank.raw_theta"])
    assert Checkpoint.load(path).config.also_share == 0.5


def test_a_second_set_and_its_share_belong_together(root: Path, also: Path) -> None:
    with pytest.raises(NemoError, match="--also-share"):
        maker_of(root, also, root / "photos", training_set.config(), quiet=True)
    with pytest.raises(NemoError, match="--also"):
        maker_of(root, None, root / "photos", training_set.config(also_share=0.5), quiet=True)
    config = training_set.config(also_source="stanford", also_share=0.5)
    meshes = sample_maker(root, root / "photos", config, quiet=True)[0].meshes
    with pytest.raises(NemoError, match="one cuboid"):
        maker_of(root, also, root / "photos", config, meshes, quiet=True)
    missing = root / "no-such-folder"
    with pytest.raises(NemoError, match="no-such-folder"):
        maker_of(root, missing, root / "photos", config, quiet=True)


def test_a_category_of_a_family_may_have_a_second_data_set(
    root: Path, also: Path, tmp_path: Path
) -> None:
    member = {
        "category": "car", "root": "made", "source": "stanford", "split": "train",
        "licence": "none", "size": {"length_m": 4.3, "sigma": 0.1, "source": "made up"},
        "also": {"root": "other", "source": "stanford", "share": 0.5},
    }  # fmt: skip
    (tmp_path / "family.yaml").write_text(yaml.safe_dump({"categories": [member]}))
    family = read_family(tmp_path / "family.yaml")
    assert "50% from other: stanford" in family.categories[0].data
    roots, config = {"made": root, "other": also}, training_set.config()
    made = family_maker(family, roots, root / "photos", config, quiet=True).makers[0]
    shared = config.model_copy(update={"also_source": "stanford", "also_share": 0.5})
    mixed = maker_of(root, also, root / "photos", shared, quiet=True)
    assert isinstance(made, Mixed)
    assert isinstance(mixed, Mixed)
    assert [made.is_second(k) for k in range(50)] == [mixed.is_second(k) for k in range(50)]
    np.testing.assert_array_equal(made(3).image, mixed(3).image)
    with pytest.raises(NemoError, match=r"car: also: .*--roots other=DIR"):
        family_maker(family, {"made": root}, root / "photos", config, quiet=True)


def command(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        point = EntryPoint("train", "nemo_model.commands.train", cli.GROUP)
        patch.setattr(cli, "entry_points", lambda group: [point])
        return cli.main(["train", *map(str, words)])


SMALL = ("--set", "width=64", "height=64", "features=16", "vertices=150", "prototypes=4",
         "picks=32", "clutter_cells=8", "batch=2", "warmup=1")  # fmt: skip


@pytest.mark.parametrize(("more", "share"), [((), 0.25), (("--also-share", 0.5), 0.5)])
def test_the_command_takes_a_second_data_set(
    root: Path, also: Path, tmp_path: Path, more: tuple[object, ...], share: float
) -> None:
    words = ("--root", root, "--split", "train", "--backgrounds", root / "photos", "--steps", 1)
    second = ("--also", also, "--also-source", "stanford", *more)
    assert command(*words, "--out", tmp_path, "--workers", 0, *second, *SMALL) == 0
    config = Checkpoint.load(tmp_path / "checkpoint.pt").config
    assert (config.also_source, config.also_share) == ("stanford", share)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--root", "R", "--also-share", 0.5), "give the second data set with --also"),
        (("--family", "F", "--also-share", 0.5), "give the second data set with --also"),
        (("--root", "R", "--also", "A", "--system", "starmap"), "'starmap' trains on one data set"),
        (("--family", "F", "--also", "A"), "with --family this stands in its file"),
        (("--root", "R", "--also", "A", "--also-share", 1), "also_share"),
        (("--root", "R", "--also", "A", "--also-share", 0), "and a share (--also-share)"),
    ],
)
def test_what_does_not_go_together_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str
) -> None:
    assert command("--backgrounds", tmp_path, "--out", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
