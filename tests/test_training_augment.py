# SPDX-License-Identifier: Apache-2.0
"""What is done to a photo before the network sees it: boxes, degradation, occluders."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import training_set
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.training.occluders import blob, paste_occluders, photo_patch
from nemo_model.training.photometric import degrade
from nemo_model.training.view import View, jittered_box

# --- boxes as a detector gives them


def view_of(box: tuple[float, float, float, float] = (20.0, 30.0, 140.0, 90.0)) -> View:
    return View(np.zeros((120, 160, 3), np.uint8), np.eye(3), np.array(box), np.eye(4))


def test_without_jitter_and_cut_the_box_is_the_objects() -> None:
    box, seen = jittered_box(view_of(), training_set.PLAIN, np.random.default_rng(0))
    np.testing.assert_array_equal(box, view_of().box)
    assert (seen == 1).all()


def test_a_cut_box_ends_where_the_image_does() -> None:
    cut = training_set.PLAIN.model_copy(update={"cut": 1.0})
    sides = Counter()
    for seed in range(60):
        box, seen = jittered_box(view_of(), cut, np.random.default_rng(seed))
        moved = np.flatnonzero(box != view_of().box)
        assert len(moved) == 1
        side = int(moved[0])
        sides[side] += 1
        share = abs(box[side] - view_of().box[side]) / (120 if side % 2 == 0 else 60)
        assert 0.05 <= share <= cut.cut_share
        gone = {
            0: np.s_[:, : int(box[0])], 1: np.s_[: int(box[1])],
            2: np.s_[:, int(box[2]) :], 3: np.s_[int(box[3]) :],
        }[side]  # fmt: skip
        assert (seen[gone] == 2).all()
        assert (seen == 2).sum() == seen[gone].size
    assert set(sides) == {0, 1, 2, 3}
    assert sides[0] + sides[2] > sides[1] + sides[3]  # mostly left and right


def test_jitter_has_the_deviation_that_it_says() -> None:
    jitter = training_set.PLAIN.model_copy(update={"box_jitter": 0.05})
    boxes = [jittered_box(view_of(), jitter, np.random.default_rng(s))[0] for s in range(400)]
    off = (np.array(boxes) - view_of().box) / [120, 60, 120, 60]
    np.testing.assert_allclose(off.std(axis=0), 0.05, rtol=0.15)
    np.testing.assert_allclose(off.mean(axis=0), 0.0, atol=0.01)
    assert np.abs(off).max() <= 0.125 + 1e-9
    rough = jitter.model_copy(update={"rough_box": 1.0})
    boxes = [jittered_box(view_of(), rough, np.random.default_rng(s))[0] for s in range(400)]
    assert ((np.array(boxes) - view_of().box) / [120, 60, 120, 60]).std() == pytest.approx(
        0.15, rel=0.1
    )


# --- pixels


def test_switched_off_nothing_degrades() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        degrade(image, training_set.PLAIN, np.random.default_rng(0)), image
    )


@pytest.mark.parametrize("name", ["colour", "shrink", "blur", "noise", "jpeg"])
def test_each_degradation_changes_a_copy_a_little(name: str) -> None:
    y, x = np.mgrid[:64, :96]
    image = np.stack([x * 2, y * 3, (x + y)], axis=2).astype(np.uint8)
    before = image.copy()
    only = training_set.PLAIN.model_copy(update={name: 1.0})
    changed = 0
    for seed in range(6):
        found = degrade(image, only, np.random.default_rng(seed))
        assert found.shape == image.shape
        assert found.dtype == np.uint8
        changed += not np.array_equal(found, image)
        assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.5
    assert changed >= 5
    np.testing.assert_array_equal(image, before)


def test_occluders_hide_the_share_that_is_asked_for() -> None:
    photos = [np.full((50, 60, 3), 200, np.uint8)]
    silhouette = np.zeros((128, 192), dtype=bool)
    silhouette[30:100, 40:160] = True
    shares = []
    for seed in range(40):
        image = np.zeros((128, 192, 3), np.uint8)
        found, mask = paste_occluders(
            image, silhouette, 0.4, photos, photos, 0.2, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal((found > 0).any(axis=2), mask)
        shares.append((mask & silhouette).sum() / silhouette.sum())
    assert max(shares) <= 0.85
    assert np.mean(np.array(shares) >= 0.4) > 0.75  # after six patches it gives up
    assert 0.4 <= np.median(shares) < 0.65


def test_nothing_to_hide() -> None:
    photos = [np.full((50, 60, 3), 200, np.uint8)]
    image = np.zeros((64, 64, 3), np.uint8)
    nothing = np.zeros((64, 64), dtype=bool)
    found, mask = paste_occluders(image, nothing, 0.5, photos, photos, 0, np.random.default_rng(0))
    assert not mask.any()
    assert not found.any()


@holds_for(st.integers(0, 1000), st.integers(6, 200), st.integers(6, 130), examples=40)
def test_patches_and_blobs_have_the_size_that_is_asked_for(seed, width, height) -> None:
    rng = np.random.default_rng(seed)
    photos = [rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)]
    assert photo_patch(photos, width, height, rng).shape == (height, width, 3)
    shape = blob(width, height, rng)
    assert shape.shape == (height, width)
    assert shape.mean() > 0.1
