# SPDX-License-Identifier: Apache-2.0
"""The paper's seen and unseen views, in every data set and in the commands."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pytest
from pascal3d_files import small_set, thing, viewpoint, write_kitti, write_object, write_set

from nemo_model.commands import evaluate as evaluate_command
from nemo_model.commands import occlude as occlude_command
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.kitti import Kitti
from nemo_model.datasets.occluded import OccludedPascal3D
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.datasets.views import is_seen, is_wanted
from nemo_model.evaluation.samples import from_kitti


def test_the_bins_begin_at_zero() -> None:
    """TFFTTFFT: seen within 45 degrees of the front and of the rear."""
    seen = [is_seen(math.radians(degrees)) for degrees in range(1, 360, 45)]
    assert seen == [True, False, False, True, True, False, False, True]
    for degrees, expected in ((0, True), (44.9, True), (45.1, False), (134.9, False), (135.1, True),
                              (224.9, True), (225.1, False), (314.9, False), (315.1, True),
                              (359.99, True), (360, True), (405.1, False), (-10, True),
                              (-50, False), (-1e-20, True)):  # fmt: skip
        assert is_seen(math.radians(degrees)) == expected, degrees


def test_every_view_is_seen_or_unseen_and_mirroring_does_not_change_it() -> None:
    for degrees in range(0, 360, 7):
        azimuth = math.radians(degrees)
        assert is_wanted(azimuth, "seen") != is_wanted(azimuth, "unseen")
        assert is_wanted(azimuth, "all")
        assert is_seen(azimuth) == is_seen(-azimuth) or degrees % 45 == 0


def azimuths(objects: list) -> list[float]:
    return [round(math.degrees(item.azimuth)) % 360 for item in objects]


def test_photos(tmp_path: Path) -> None:
    root = small_set(tmp_path)  # azimuths 5, 65, 125, 185, 245, 305
    seen = Pascal3D(root, "car", split="val", views="seen")
    assert azimuths(seen.objects) == [5, 185]
    assert dict(seen.skipped) == {"not among the seen views": 4}
    unseen = Pascal3D(root, "car", split="val", views="unseen")
    assert azimuths(unseen.objects) == [65, 125, 245, 305]
    assert not Pascal3D(root, "car", split="val").skipped
    with pytest.raises(DatasetError, match=r"views 'new'.*all, seen, unseen"):
        Pascal3D(root, "car", split="val", views="new")


def test_nothing_left_says_why(tmp_path: Path) -> None:
    write_object(tmp_path, "a", [thing(view=viewpoint(azimuth=90.0))])
    write_set(tmp_path, "val", ["a"])
    with pytest.raises(DatasetError, match="'not among the seen views': 1"):
        Pascal3D(tmp_path, "car", split="val", views="seen")


def test_occluded_copies(tmp_path: Path) -> None:
    root = small_set(tmp_path / "cars")
    parser = argparse.ArgumentParser()
    occlude_command.add_arguments(parser)
    photos = str(root / "Images")
    words = ["--root", str(root), "--occluders", photos, "--out", str(tmp_path), "--level", "1"]
    occlude_command.run(parser.parse_args(words))
    unseen = OccludedPascal3D(root, tmp_path, "car", 1, views="unseen")
    assert azimuths(unseen.objects) == [65, 125, 245, 305]


def test_street(tmp_path: Path) -> None:
    """KITTI's azimuth is that of the side that the camera sees, viewing ray and all."""
    lines = [
        f"Car 0.00 0 0 560 160 660 230 1.5 1.7 4.2 {x} 1.6 15.0 {turn}"
        for x, turn in ((0.0, -1.57), (0.0, 1.57), (0.0, 0.0), (14.0, 1.57), (40.0, 1.57))
    ]
    root = write_kitti(tmp_path, {"000000": lines})
    objects = Kitti(root).objects
    found = azimuths(objects)
    assert found[:3] == [180, 0, 270]
    for item, sample in zip(objects, from_kitti(objects), strict=True):
        assert math.degrees(item.azimuth) % 360 == pytest.approx(sample.azimuth_deg)
    assert [item.index for item in Kitti(root, views="seen")] == [0, 1, 3]
    assert [item.index for item in Kitti(root, views="unseen")] == [2, 4]


def test_evaluate_reads_the_views_it_is_told(tmp_path: Path) -> None:
    root = small_set(tmp_path)
    parser = argparse.ArgumentParser()
    evaluate_command.add_arguments(parser)
    arguments = ["--model", "m", "--root", str(root), "--views"]
    for views, count in (("all", 6), ("seen", 2), ("unseen", 4)):
        samples, skipped, _ = evaluate_command.load(parser.parse_args([*arguments, views]))
        assert len(samples) == count
        assert sum(skipped.values()) == 6 - count


def test_training_on_seen_views_never_draws_another(tmp_path: Path) -> None:
    """Not as it is, and not mirrored."""
    pytest.importorskip("torch")
    import training_set

    from nemo_model.training.loader import sample_maker

    root = training_set.write(tmp_path)  # azimuths 7, 52, 97, 142, ...
    for views, expected in (("seen", [7, 142, 187, 322]), ("unseen", [52, 97, 232, 277])):
        maker, _ = sample_maker(root, root / "photos", training_set.config(views=views))
        assert azimuths(list(maker.objects)) == expected
        assert len(maker.images) == len(maker.probability) == 4
