# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a bundle that runs: `nemo export` and what onnxruntime makes of it."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import torch
import training_set
from onnx import TensorProto, numpy_helper

from nemo_model import cli
from nemo_model.bundle import Bundle
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.features import CPU, FeatureExtractor
from nemo_model.mesh import cuboid, mean_outline
from nemo_model.training import export as exporter
from nemo_model.training.backbone import load_imagenet
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.export import PARITY, SMALL, store_half, trained
from nemo_model.training.network import NeuralMesh
from nemo_model.training.parts import whole
from nemo_model.training.start import bundle_weights

ARGUMENTS = (
    "--data", "made by the test", "--licence", "Apache-2.0", "--command", "nemo train --root x",
    "--length-m", "4.3", "--length-sigma", "0.08", "--length-source", "by hand",
)  # fmt: skip


def checkpoint(path: Path) -> Checkpoint:
    """ImageNet's trunk under an untrained head, saved as nemo train would."""
    torch.manual_seed(0)
    config = training_set.config()
    mesh = cuboid([-0.2, -0.43, -0.16], [0.2, 0.43, 0.16], config.vertices)
    model = NeuralMesh(len(mesh.vertices), config)
    load_imagenet(model.backbone.trunk)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = Checkpoint(
        config, whole("car", mesh, mean_outline([mesh])), 3, state, {"model": {}, "optimiser": {}}
    )
    found.save(path)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nemo export` writes, and the checkpoint that it was made of."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint(folder / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        point = EntryPoint("export", "nemo_model.commands.export", cli.GROUP)
        patch.setattr(cli, "entry_points", lambda group: [point])
        status = cli.main(
            ["export", "--checkpoint", str(folder / "checkpoint.pt"), "--out",
             str(folder / "tiny-car"), *ARGUMENTS]
        )  # fmt: skip
    assert status == 0
    return folder


def test_the_card_says_where_the_model_comes_from(folder: Path) -> None:
    card = Bundle.load(folder / "tiny-car").card
    assert (card.name, card.category, card.licence) == ("tiny-car", "car", "Apache-2.0")
    assert (card.width, card.height, card.features) == (64, 64, 16)
    assert card.command == "nemo train --root x"
    assert (card.size.length_m, card.size.sigma, card.size.source) == (4.3, 0.08, "by hand")
    assert card.training["steps_done"] == 3
    assert card.training["batch"] == 2
    assert card.calibration is None


def test_the_bundle_holds_the_checkpoints_mesh_and_averaged_features(folder: Path) -> None:
    bundle, saved = Bundle.load(folder / "tiny-car"), Checkpoint.load(folder / "checkpoint.pt")
    np.testing.assert_allclose(bundle.mesh.vertices, saved.mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(bundle.mesh.faces, saved.mesh.faces)
    np.testing.assert_allclose(bundle.outline, saved.outline, atol=1e-7)
    raw = saved.average["bank.raw_theta"].numpy()
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(bundle.features, expected, atol=1e-6)
    assert bundle.clutter.shape == (4, 16)


@pytest.mark.parametrize("shape", [(1, 64, 64), (5, 64, 64), (2, 32, 96), (1, 128, 192)])
def test_onnxruntime_gives_torchs_features_for_any_batch_and_size(
    folder: Path, shape: tuple[int, int, int]
) -> None:
    extractor = FeatureExtractor(folder / "tiny-car" / "backbone.onnx", providers=[CPU])
    assert extractor.channels == 16
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = extractor(image)
    model = trained(Checkpoint.load(folder / "checkpoint.pt"))
    with torch.no_grad():
        expected = model.backbone(torch.from_numpy(image).permute(0, 3, 1, 2).float())
    assert found.shape == (shape[0], shape[1] // 8, shape[2] // 8, 16)
    assert np.abs(found - expected.permute(0, 2, 3, 1).numpy()).max() < PARITY
    np.testing.assert_allclose(np.linalg.norm(found, axis=3), 1.0, atol=1e-5)


def test_no_path_of_the_exporting_machine_is_left(folder: Path) -> None:
    data = (folder / "tiny-car" / "backbone.onnx").read_bytes()
    for path in (
        str(Path(exporter.__file__).parent),
        str(Path(torch.__file__).parent),
        "backbone.py",
    ):
        assert path.encode() not in data


def test_weights_are_stored_as_half_and_computed_as_single(folder: Path) -> None:
    path = folder / "tiny-car" / "backbone.onnx"
    model = onnx.load(path)
    kinds: dict[int, int] = {}
    for tensor in model.graph.initializer:
        size = numpy_helper.to_array(tensor).size
        kinds[tensor.data_type] = kinds.get(tensor.data_type, 0) + size
        assert tensor.data_type != TensorProto.FLOAT or size < SMALL
    single = 4 * sum(p.numel() for p in trained(
        Checkpoint.load(folder / "checkpoint.pt")).backbone.parameters())  # fmt: skip
    assert path.stat().st_size < 0.6 * single
    assert kinds[TensorProto.FLOAT16] > 0.95 * single / 4
    outputs = onnxruntime.InferenceSession(str(path), providers=[CPU]).get_outputs()
    assert [output.name for output in outputs] == ["features", "context"]
    assert {output.type for output in outputs} == {"tensor(float)"}


def test_storing_half_changes_what_it_must_and_no_more() -> None:
    """A tiny graph: the large weight is rounded to half precision, the small one is not."""
    rng = np.random.default_rng(0)
    large = rng.normal(size=(SMALL, 2)).astype(np.float32)
    small = np.array([1.0 + 1e-6, 2.0], dtype=np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "large"], ["y"]),
            onnx.helper.make_node("Add", ["y", "small"], ["z"]),
        ],
        "tiny",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SMALL])],
        [onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    data = store_half(model.SerializeToString())
    session = onnxruntime.InferenceSession(data, providers=[CPU])
    x = rng.normal(size=(1, SMALL)).astype(np.float32)
    expected = x @ large.astype(np.float16).astype(np.float32) + small
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5)
    kinds = {t.name: t.data_type for t in onnx.load_from_string(data).graph.initializer}
    assert set(kinds.values()) == {TensorProto.FLOAT, TensorProto.FLOAT16}
    assert kinds["small"] == TensorProto.FLOAT


def test_the_exported_bundle_estimates(folder: Path) -> None:
    """Untrained, so nothing is known of the pose; but the whole way is walked."""
    estimator = Estimator.load(folder / "tiny-car")
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
    estimate = estimator.estimate(image, K, (80, 70, 240, 170))
    assert np.isfinite(estimate.T_cam_obj).all()
    assert estimate.position[2] > 0
    assert estimate.occlusion.shape == (8, 8)
    assert estimator.size[1] == pytest.approx(4.3)


def test_a_wrong_export_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the stored weights are not the network's, the comparison with torch refuses."""

    def spoil(data: bytes) -> bytes:
        model = onnx.load_from_string(data)
        first = next(t for t in model.graph.initializer if numpy_helper.to_array(t).size > 500)
        values = numpy_helper.to_array(first) * np.float32(1.5)
        first.CopyFrom(numpy_helper.from_array(values, first.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(exporter, "store_half", spoil)
    model = trained(Checkpoint.load(folder / "checkpoint.pt"))
    with pytest.raises(NemoError, match="features of onnxruntime and torch differ"):
        exporter.backbone_onnx(model, 64, 64)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--length-m", "-1", "length_m"),
        ("--length-sigma", "2", "sigma"),
        ("--licence", "", "licence"),
    ],
)
def test_a_card_that_cannot_be_is_refused_before_the_export(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    message: str,
) -> None:
    point = EntryPoint("export", "nemo_model.commands.export", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    arguments = list(ARGUMENTS)
    arguments[arguments.index(option) + 1] = value
    status = cli.main(
        ["export", "--checkpoint", str(folder / "checkpoint.pt"), "--out", str(tmp_path / "m"),
         *arguments]
    )  # fmt: skip
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_bundle_gives_its_weights_back(folder: Path) -> None:
    """What is trained on from a bundle is what it was exported from, up to float16."""
    expected = trained(Checkpoint.load(folder / "checkpoint.pt"))
    found = bundle_weights(folder / "tiny-car")
    state = expected.state_dict()
    assert set(found) == set(state)
    for name, value in state.items():
        if name.startswith("backbone."):
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found["bank.raw_theta"], expected.bank.theta.detach())
    torch.testing.assert_close(found["bank.raw_beta"], expected.bank.beta.detach())


def test_a_bundle_with_another_backbone_is_refused(tmp_path: Path) -> None:
    tiny.write(tmp_path / "other")
    with pytest.raises(NemoError, match=r"backbone\.onnx: holds no weights that nemo export named"):
        bundle_weights(tmp_path / "other")
