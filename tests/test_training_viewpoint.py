# SPDX-License-Identifier: Apache-2.0
"""Learning the viewpoint prior: its loss, what a run changes, and what reaches the bundle."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import training_set

from nemo_model.angles import ANGLES, AZIMUTH
from nemo_model.bundle import Bundle, Card, SizePrior
from nemo_model.camera import Camera, crop_camera
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.pose import angles_from_rotation
from nemo_model.training import train as loop
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.export import export, reader_of, trained
from nemo_model.training.families.maker import FamilyMaker
from nemo_model.training.families.start import family_weights, readers_of
from nemo_model.training.loader import sample_maker
from nemo_model.training.network import PRIOR
from nemo_model.training.start import bundle_weights
from nemo_model.training.train import train
from nemo_model.training.viewpoint import Context, Readers, shown, viewpoint_loss
from nemo_model.viewpoint import BINS

NONE = torch.tensor([1])


def logits_at(azimuth: float, elevation: float = 0.2, theta: float = 0.1) -> torch.Tensor:
    """Logits (1, BINS) that are sure of these angles, radians."""
    found = [
        torch.from_numpy(-0.5 * (bins.apart(angle) / math.radians(6.0)) ** 2)
        for bins, angle in zip(ANGLES, (azimuth, elevation, theta), strict=True)
    ]
    return torch.cat(found)[None].float()


def loss_of(logits: torch.Tensor, azimuth: float, symmetry: int = 1) -> tuple[float, float]:
    angles = torch.tensor([[azimuth, 0.2, 0.1]])
    loss, right = viewpoint_loss(logits, angles, torch.tensor([symmetry]))
    return float(loss), float(right)


def test_the_loss_is_least_at_the_truth() -> None:
    right = loss_of(logits_at(1.0), 1.0)
    for wrong in (1.3, 0.7, 1.0 + math.pi):
        loss, near = loss_of(logits_at(wrong), 1.0)
        assert loss > right[0] + 0.5
        assert near == 0.0
    assert right[1] == 1.0


def test_angles_go_round() -> None:
    inside, across = loss_of(logits_at(0.3), 0.5)[0], loss_of(logits_at(6.2), 0.2 + 6.2 - 2 * np.pi)
    assert across[0] == pytest.approx(inside, abs=0.1)


def test_views_that_look_alike_are_all_right() -> None:
    for turn in (0.0, math.pi):
        assert loss_of(logits_at(1.0 + turn), 1.0, symmetry=2)[1] == 1.0
    assert loss_of(logits_at(1.0 + math.pi / 2), 1.0, symmetry=2)[1] == 0.0
    anywhere = [loss_of(logits_at(azimuth), 1.0, symmetry=0) for azimuth in (0.0, 2.0, 4.0)]
    assert all(right == 1.0 for _, right in anywhere)
    losses = [loss for loss, _ in anywhere]
    assert max(losses) - min(losses) < 0.05


def test_the_context_takes_maps_of_any_size() -> None:
    torch.manual_seed(0)
    context = Context(24)
    for height, width in ((4, 6), (2, 2), (5, 9)):
        maps = torch.rand(2, 112, 2 * height, 2 * width), torch.rand(2, 320, height, width)
        found = context(*maps)
        assert found.shape == (2, 24)
        assert (found >= 0).all()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("cars"))


def run(root: Path, out: Path, config: TrainConfig, **options: object) -> Checkpoint:
    path = train(root, root / "photos", out, config, workers=0, **options)  # type: ignore[arg-type]
    return Checkpoint.load(path)


def test_a_sample_tells_the_view_of_its_crop(root: Path) -> None:
    """The photo's own view, turned to the crop's camera; without augmentation."""
    config = training_set.config(augment=training_set.PLAIN)
    maker, _ = sample_maker(root, root / "photos", config, quiet=True)
    for index in range(5):
        rng = np.random.default_rng([0, index])
        item = maker.objects[int(rng.choice(len(maker.objects), p=maker.probability))]
        crop = crop_camera(Camera(item.K, *training_set.SIZE), item.box, 64, 64, 0.86)
        truth = angles_from_rotation(crop.R_crop_cam @ item.T_cam_obj[:3, :3])
        np.testing.assert_allclose(maker(index).angles, truth, atol=1e-6)


def test_it_learns_the_views(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = training_set.config(
        steps=60, batch=4, warmup=20, trunk_rate=1e-4, head_rate=5e-4, width=96, height=64,
        augment=training_set.PLAIN,
    )  # fmt: skip
    run(root, tmp_path, config)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first, last = (np.mean([row["viewpoint"] for row in part]) for part in (rows[:8], rows[-8:]))
    assert last < 0.9 * first


@pytest.fixture(scope="module")
def plain(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a prior."""
    out = tmp_path_factory.mktemp("plain")
    return bundle(run(root, out, training_set.config(context=0)), out / "model").folder


def bundle(checkpoint: Checkpoint, out: Path) -> Bundle:
    config = checkpoint.config
    card = Card(
        name="car", category="car", width=config.width, height=config.height,
        features=config.features, size=SizePrior(length_m=4.0, sigma=0.1, source="s"), data="d",
        split="s", seed=0, command="c", licence="l", training={}, sha256={},
    )  # fmt: skip
    return export(checkpoint, card, out)


def test_a_run_may_learn_nothing_but_the_prior(root: Path, plain: Path, tmp_path: Path) -> None:
    """All other weights stay those of the bundle, to the last bit."""
    before = bundle_weights(plain)
    config = training_set.config(learned="viewpoint")
    done = run(root, tmp_path / "run", config, initial=before)
    for name, value in before.items():
        torch.testing.assert_close(done.resume["model"][name], value, rtol=0, atol=0)
    prior = [n for n in done.average if n.startswith(PRIOR) and not n.endswith("count")]
    assert prior
    still = config.model_copy(update={"head_rate": 0.0, "weight_decay": 0.0})
    begun = run(root, tmp_path / "begun", still, initial=before)  # the same seed, learning nothing
    assert not any(torch.equal(done.average[name], begun.average[name]) for name in prior)
    after = bundle(done, tmp_path / "model")
    np.testing.assert_allclose(after.features, Bundle.load(plain).features, atol=1e-6)


def test_a_bundle_reads_what_torch_does(root: Path, tmp_path: Path) -> None:
    done = run(root, tmp_path / "run", training_set.config())
    kept = bundle(done, tmp_path / "model")
    estimator = Estimator.load(kept.folder)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
    seen = estimator.observe(image, K, (80, 60, 240, 180))
    model = trained(done)
    assert seen.pixels is not None
    with torch.no_grad():
        pixels = torch.from_numpy(seen.pixels.copy()).permute(2, 0, 1)[None].float()
        features, context = model.backbone.with_context(pixels)
    assert context is not None
    assert seen.context is not None
    np.testing.assert_allclose(seen.context, context[0], atol=1e-2)
    np.testing.assert_allclose(seen.features, features[0].permute(1, 2, 0), atol=1e-2)
    prior, reader = estimator.viewpoint(seen), reader_of(model)
    assert prior is not None
    assert reader is not None
    np.testing.assert_allclose(prior.log, reader(context[0].numpy()).log, atol=0.05)
    estimate = estimator.estimate(image, K, (80, 60, 240, 180))
    assert estimate.statistics["viewpoint_peak"] > 0.0


def test_a_run_goes_on_from_a_bundle_with_its_prior(root: Path, tmp_path: Path) -> None:
    done = run(root, tmp_path / "run", training_set.config())
    weights = bundle_weights(bundle(done, tmp_path / "model").folder)
    prior = {name for name in done.average if name.startswith(PRIOR)}
    assert prior <= set(weights)
    for name in prior - {"readers.count"}:  # what it showed is known, how often not any more
        torch.testing.assert_close(weights[name], done.average[name], atol=1e-3, rtol=1e-2)


def test_training_counts_from_where_it_showed_the_object(root: Path, tmp_path: Path) -> None:
    """The seen views are fronts and rears, but for what the crop turns."""
    done = run(root, tmp_path / "run", training_set.config(views="seen", batch=16, steps=6))
    count = done.average["readers.count"][0].numpy()
    unseen = np.abs(np.rad2deg(AZIMUTH.centres) % 180.0 - 90.0) < 30.0  # the sides' middle
    assert count.sum() > 1.0
    assert not count[unseen].any()
    kept = bundle(done, tmp_path / "model").reader
    assert kept is not None
    assert not kept.shown[unseen].any()
    assert kept.shown.any()
    goes_on = bundle_weights(tmp_path / "model")["readers.count"]
    np.testing.assert_array_equal(goes_on[0].numpy() > 0.0, kept.shown)


def test_what_was_seldom_shown_was_not_but_for_gaps() -> None:
    count = torch.full((AZIMUTH.count,), 100.0)
    count[30:40] = torch.tensor([0.0, 3.0] + [0.0] * 8)
    count[60] = 20.0
    count[[5, 10, 11, 12, 13]] = 0.0  # one bin, four bins
    count[[71, 0]] = 0.0  # across the end
    expected = [not 30 <= k < 40 for k in range(AZIMUTH.count)]
    assert shown(count).tolist() == expected
    assert shown(torch.zeros(AZIMUTH.count)).all()


@pytest.mark.parametrize(("symmetry", "bins"), [(1, 1), (2, 2), (4, 4), (0, AZIMUTH.count)])
def test_a_symmetric_object_is_shown_from_all_sides_that_look_alike(
    symmetry: int, bins: int
) -> None:
    readers = Readers(2, 3)
    angles = torch.tensor([[float(AZIMUTH.centres[5]) + 0.01, 0.0, 0.0]])
    readers.note(torch.tensor([1]), angles, torch.tensor([symmetry]))
    assert not readers.count[0].any()
    assert int((readers.count[1] > 0).sum()) == bins
    assert readers.count[1, 5] == 1.0


def test_a_checkpoint_that_counted_nothing_goes_on_as_shown_from_everywhere(
    root: Path, tmp_path: Path
) -> None:
    run(root, tmp_path / "run", training_set.config())
    path = tmp_path / "run" / "checkpoint.pt"
    raw = torch.load(path, weights_only=True)
    del raw["average"]["readers.count"], raw["resume"]["model"]["readers.count"]
    torch.save(raw, path)
    old = Checkpoint.load(path)
    assert shown(old.average["readers.count"][0]).all()
    more = run(root, tmp_path / "run", training_set.config(steps=old.config.steps + 1), resume=True)
    assert more.step == old.step + 1
    assert shown(more.average["readers.count"][0]).all()


def test_a_new_category_begins_with_a_prior_that_says_nothing(root: Path, tmp_path: Path) -> None:
    done = run(root, tmp_path / "run", training_set.config())
    kept = bundle(done, tmp_path / "model")
    readers = readers_of([kept, None])
    assert readers["readers.weight"].shape == (2, BINS, 24)
    assert not readers["readers.weight"][1].any()
    assert readers["readers.weight"][0].any()
    assert readers["readers.count"][0].any()
    assert not readers["readers.count"][1].any()  # it was shown from nowhere yet
    assert readers_of([None, None]) == {}


def test_a_family_may_start_from_a_bundle_of_something_else(root: Path, tmp_path: Path) -> None:
    """Its backbone and context are taken, its reading of the context is not."""
    kept = bundle(run(root, tmp_path / "run", training_set.config()), tmp_path / "model")
    config = training_set.config()
    cars = sample_maker(root, root / "photos", config, quiet=True)[0].meshes
    sets = [replace(cars, category=name) for name in ("van", "lorry")]
    maker = FamilyMaker(sets, [None, None], [1.0, 1.0], 0)
    state = family_weights(kept.folder, maker, config, [1, 1])
    assert state["readers.weight"].shape == (2, BINS, 24)
    assert not state["readers.weight"].any()


def test_a_checkpoint_from_before_there_was_a_prior_is_read(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "run", training_set.config(**training_set.PAPER))
    path = tmp_path / "run" / "checkpoint.pt"
    raw = torch.load(path, weights_only=True)
    fields = json.loads(raw["config"])
    for name in ("context", "silhouettes", "learned", "viewpoint_weight"):
        del fields[name]
    torch.save(raw | {"config": json.dumps(fields)}, path)
    old = Checkpoint.load(path)
    assert (old.config.context, old.config.silhouettes) == (0, False)
    assert reader_of(trained(old)) is None
    with pytest.raises(NemoError, match="context was 0, now 24"):
        run(root, tmp_path / "run", training_set.config(), resume=True)


def test_a_prior_needs_a_context_and_something_to_start_from(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a context"):
        training_set.config(learned="viewpoint", context=0)
    with pytest.raises(NemoError, match="needs trained weights"):
        run(root, tmp_path, training_set.config(learned="viewpoint"))


def test_a_run_without_a_prior_starts_from_a_bundle_with_one(root: Path, tmp_path: Path) -> None:
    kept = bundle(run(root, tmp_path / "run", training_set.config()), tmp_path / "model")
    weights = bundle_weights(kept.folder)
    done = run(root, tmp_path / "plain", training_set.config(context=0), initial=weights)
    assert not any(name.startswith(PRIOR) for name in done.average)


def test_rivals_are_not_touched_by_silhouettes(root: Path) -> None:
    """What hides the object in a picture is what stands before it, whatever NeMo learns from."""
    pictures = []
    for on in (True, False):
        config = training_set.config(silhouettes=on, augment=training_set.PLAIN)
        maker, _ = sample_maker(root, root / "photos", config, quiet=True)
        pictures.append(maker.picture(np.random.default_rng(0)))
    assert not pictures[0].hidden.any()
    np.testing.assert_array_equal(pictures[0].hidden, pictures[1].hidden)
