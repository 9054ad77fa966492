# SPDX-License-Identifier: Apache-2.0
"""The training loss on features whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import training_set
from torch.nn import functional as F

from nemo_model.training.loader import collate, sample_maker
from nemo_model.training.loss import Bank, Batch, Objective, smooth_features
from nemo_model.training.rivals import RIVALS
from nemo_model.training.samples import SampleMaker

CONFIG = training_set.config(
    width=192, height=128, picks=64, clutter_cells=32, augment=training_set.PLAIN
)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> SampleMaker:
    root = training_set.write(Path(tmp_path_factory.mktemp("loss")))
    return sample_maker(root, root / "photos", CONFIG)[0]


@pytest.fixture(scope="module")
def batch(maker: SampleMaker) -> Batch:
    return collate([maker(k) for k in range(4)])


@pytest.fixture
def bank(maker: SampleMaker) -> Bank:
    """Features of neighbours are alike, as in a trained mesh."""
    torch.manual_seed(0)
    bank = Bank(len(maker.mesh.vertices), CONFIG.prototypes, 32)
    waves, phase = torch.randn(3, 32) / 0.12, 6.28 * torch.rand(32)
    points = torch.tensor(maker.mesh.vertices, dtype=torch.float32)
    with torch.no_grad():
        bank.raw_theta.copy_(torch.cos(points @ waves + phase))
    return bank


def rendered(bank: Bank, batch: Batch, pose: int = 0) -> torch.Tensor:
    """The features (B, C, h, w) of a perfect backbone that sees the poses of one number."""
    theta, beta = bank.theta.detach(), bank.beta.detach()
    corner, weight = batch.corner[:, pose], batch.weight[:, pose]
    seen = (theta[corner] * weight[..., None]).sum(dim=3)
    covered = weight.sum(dim=3, keepdim=True) > 0
    features = torch.where(covered, seen, beta[0].expand_as(seen))
    return F.normalize(features, dim=3).permute(0, 3, 1, 2).contiguous()


def objective(maker: SampleMaker, **changes: object) -> Objective:
    return Objective(maker.mesh, CONFIG.model_copy(update=changes))


def test_perfect_features_give_a_small_loss_and_rank_the_truth_first(maker, batch, bank) -> None:
    losses = objective(maker)(rendered(bank, batch), bank, batch)
    assert losses.pose_right == 1.0
    assert losses.vertex_right > 0.6
    noise = F.normalize(torch.randn(4, 32, 16, 24), dim=1)
    random = objective(maker)(noise, bank, batch)
    assert random.vertex_right < 0.1
    for name in ("vertex", "clutter", "pose"):
        assert getattr(losses, name) < 0.5 * getattr(random, name), name


@pytest.mark.parametrize("seen", range(1, RIVALS))
def test_the_pose_term_believes_the_features(maker, batch, bank, seen: int) -> None:
    """Features that show a rival pose speak against the one that is called true."""
    losses = objective(maker)(rendered(bank, batch, seen), bank, batch)
    assert losses.pose_right < 1.0
    truth = objective(maker)(rendered(bank, batch), bank, batch)
    assert losses.pose > truth.pose + 0.2


def test_the_pose_term_by_hand(maker, bank) -> None:
    """Two cells, two poses: energies 2 (1 - 0) and 1 (1 - 0) over two covered cells."""
    with torch.no_grad():
        bank.raw_theta.zero_()
        bank.raw_theta[:, 0] = 1.0
        bank.raw_beta.zero_()
        bank.raw_beta[:, 1] = 1.0
    features = torch.zeros(1, 32, 2, 2)
    features[:, 0] = 1.0
    weight = torch.zeros(1, 2, 2, 2, 3)
    weight[:, 0, 0, :, 0] = 1.0  # the true pose covers the upper two cells
    weight[:, 1, 0, 0, 1] = 1.0  # the other one covers one of them
    sample = Batch(
        image=torch.zeros(1, 16, 16, 3, dtype=torch.uint8),
        vertex=torch.full((1, 1), -1),
        uv=torch.zeros(1, 1, 2),
        clutter=torch.zeros(1, 2, 2, dtype=torch.bool),
        corner=torch.zeros(1, 2, 2, 2, 3, dtype=torch.long),
        weight=weight,
    )
    losses = objective(maker, pose_sharpness=3.0)(features, bank, sample)
    expected = -torch.log_softmax(torch.tensor([3.0 * 2 / 2, 3.0 * 1 / 2]), dim=0)[0]
    assert losses.pose.item() == pytest.approx(expected.item(), rel=1e-5)


def test_vertex_features_are_read_where_the_vertex_projects(maker, bank) -> None:
    """Vertex 5's feature at cell (row 3, column 7) alone is found at uv = (7, 3), not beside it."""
    features = bank.beta[0].detach()[None, :, None, None].repeat(1, 1, 16, 24)
    features[0, :, 3, 7] = bank.theta[5].detach()
    losses = []
    for uv in ([7.0, 3.0], [7.5, 3.0], [7.0, 4.0], [3.0, 7.0]):
        sample = Batch(
            torch.zeros(1, 128, 192, 3, dtype=torch.uint8), torch.tensor([[5]]),
            torch.tensor([[uv]]), torch.zeros(1, 16, 24, dtype=torch.bool),
            torch.zeros(1, 1, 16, 24, 3, dtype=torch.long), torch.zeros(1, 1, 16, 24, 3),
        )  # fmt: skip
        losses.append(objective(maker)(features, bank, sample).vertex.item())
    assert losses[0] < losses[1] < losses[2]
    assert losses[3] == pytest.approx(losses[2])
    assert losses[0] < 0.7


def test_near_vertices_do_not_compete_and_twins_compete_harder(maker, bank) -> None:
    points = maker.mesh.vertices
    of = objective(maker, near=0.1, twin_margin=0.25)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    expected = (distance < 0.1) & (distance > 0)
    clear = np.abs(distance - 0.1) > 1e-3  # torch's distances are float32
    np.testing.assert_array_equal(of.rivalry[0].near.numpy()[clear], expected[clear])
    assert not of.rivalry[0].near.diagonal().any()
    opposite = np.linalg.norm(points[:, None] - points[None] * [-1, -1, 1], axis=2)
    twins = of.rivalry[0].twin.numpy() > 0
    assert twins[opposite < 1e-9].mean() > 0.9
    assert set(np.unique(of.rivalry[0].twin)) == {0.0, 0.25}
    assert not (twins & expected)[clear].any()


def test_a_near_vertex_with_the_same_feature_costs_nothing(maker, bank) -> None:
    """A neighbour that looks the same would cost log 2; only a far one does."""
    distance = np.linalg.norm(maker.mesh.vertices - maker.mesh.vertices[5], axis=1)
    order = np.argsort(distance)
    near, far = int(order[1]), int(order[-1])
    sample = Batch(
        image=torch.zeros(1, 128, 192, 3, dtype=torch.uint8),
        vertex=torch.tensor([[5]]),
        uv=torch.tensor([[[7.0, 3.0]]]),
        clutter=torch.zeros(1, 16, 24, dtype=torch.bool),
        corner=torch.zeros(1, 1, 16, 24, 3, dtype=torch.long),
        weight=torch.zeros(1, 1, 16, 24, 3),
    )
    losses = []
    for alike in (near, far):
        with torch.no_grad():
            bank.raw_theta.normal_(generator=torch.Generator().manual_seed(0))
            bank.raw_theta[alike] = bank.raw_theta[5]
        features = bank.theta[5].detach()[None, :, None, None].expand(1, -1, 16, 24).contiguous()
        of = objective(maker, near=float(distance[near]) + 1e-3, twin_margin=0.0)
        losses.append(of(features, bank, sample).vertex.item())
    assert losses[0] < 0.1
    assert losses[1] == pytest.approx(np.log(2.0), abs=0.1)


def test_a_twin_margin_raises_the_loss(maker, batch, bank) -> None:
    plain = objective(maker, twin_margin=0.0)(rendered(bank, batch), bank, batch)
    harder = objective(maker, twin_margin=0.3)(rendered(bank, batch), bank, batch)
    assert harder.vertex > plain.vertex


def test_clutter_cells_prefer_prototypes(maker, batch, bank) -> None:
    of = objective(maker)
    features = rendered(bank, batch)
    good = of(features, bank, batch).clutter
    as_object = bank.theta[0].detach()[None, :, None, None].expand_as(features)
    bad = of(as_object.contiguous(), bank, batch).clutter
    assert good < 1.0 < bad


def test_more_clutter_cells_asked_for_than_there_are(maker, batch, bank) -> None:
    losses = objective(maker, clutter_cells=10_000)(rendered(bank, batch), bank, batch)
    assert torch.isfinite(losses.clutter)


def test_a_batch_that_shows_nothing_or_no_clutter_is_finite(maker, batch, bank) -> None:
    of = objective(maker)
    features = rendered(bank, batch).requires_grad_()
    empty = replace(
        batch,
        vertex=torch.full_like(batch.vertex, -1),
        clutter=torch.zeros_like(batch.clutter),
        weight=torch.zeros_like(batch.weight),
    )
    losses = of(features, bank, empty)
    total = of.total(losses)
    assert torch.isfinite(total)
    total.backward()
    assert torch.isfinite(features.grad).all()


def test_padding_does_not_count(maker, batch, bank) -> None:
    features = rendered(bank, batch)
    more = replace(
        batch,
        vertex=torch.cat([batch.vertex, torch.full((4, 7), -1)], dim=1),
        uv=torch.cat([batch.uv, torch.rand(4, 7, 2)], dim=1),
    )
    of = objective(maker)
    found = of(features, bank, more).vertex.item()
    assert found == pytest.approx(of(features, bank, batch).vertex.item())


def test_the_total_is_the_weighted_sum(maker, batch, bank) -> None:
    of = objective(maker, clutter_weight=2.0, pose_weight=3.0)
    losses = of(rendered(bank, batch), bank, batch)
    expected = losses.vertex + 2.0 * losses.clutter + 3.0 * losses.pose
    assert of.total(losses).item() == pytest.approx(expected.item())


def test_the_bank_is_read_as_unit(bank: Bank) -> None:
    torch.testing.assert_close(bank.theta.norm(dim=1), torch.ones(len(bank.raw_theta)))
    torch.testing.assert_close(bank.beta.norm(dim=1), torch.ones(CONFIG.prototypes))


def test_every_term_reaches_features_and_bank(maker, batch, bank) -> None:
    of = objective(maker)
    for name in ("vertex", "clutter", "pose"):
        features = F.normalize(torch.randn(4, 32, 16, 24), dim=1).requires_grad_()
        bank.zero_grad()
        getattr(of(features, bank, batch), name).backward()
        assert features.grad.abs().sum() > 0, name
        assert bank.raw_theta.grad.abs().sum() > 0, name
        assert bank.raw_beta.grad.abs().sum() > 0, name


def test_descending_learns_the_batch(maker, batch) -> None:
    """Free feature maps and a free bank: 40 steps lower every term and rank the poses."""
    torch.manual_seed(1)
    bank = Bank(len(maker.mesh.vertices), CONFIG.prototypes, 32)
    raw = torch.nn.Parameter(torch.randn(4, 32, 16, 24))
    optimiser = torch.optim.Adam([raw, *bank.parameters()], lr=0.05)
    of = objective(maker)
    history = []
    for _ in range(40):
        losses = of(F.normalize(raw, dim=1), bank, batch)
        optimiser.zero_grad()
        of.total(losses).backward()
        optimiser.step()
        history.append(losses)
    for name in ("vertex", "clutter", "pose"):
        assert getattr(history[-1], name) < 0.5 * getattr(history[0], name), name
    assert history[-1].pose_right == 1.0
    assert history[-1].vertex_right > 0.9


def test_first_vertex_features_are_alike_where_vertices_are_near() -> None:
    torch.manual_seed(0)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.02, 0.0, 0.0], [0.0, 0.9, 0.0]])
    theta = torch.nn.functional.normalize(smooth_features(points, 64), dim=1)
    cosine = theta @ theta.T
    assert cosine[0, 1] > 0.95
    assert abs(float(cosine[0, 2])) < 0.5


def test_the_pose_term_has_a_gradient_where_the_clutter_explains_everything(
    maker: SampleMaker,
) -> None:
    """As at the start of a training, when no vertex is better than the best of the clutter."""
    batch = collate([maker(0), maker(1)])
    theta = torch.zeros(len(maker.mesh.vertices), 32)
    theta[:, 0] = 1.0
    beta = torch.zeros(CONFIG.prototypes, 32)
    beta[:, 1] = 1.0
    features = torch.zeros(2, 32, *batch.clutter.shape[1:])
    features[:, 1] = 1.0
    features.requires_grad_(True)
    objective = Objective(maker.mesh, CONFIG)
    loss, _ = objective._pose(features, theta, beta, batch)
    loss.backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
