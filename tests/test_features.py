# SPDX-License-Identifier: Apache-2.0
"""The backbone behind onnxruntime: unit features, cells where they should be, honest providers."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
from onnx import TensorProto, helper

from nemo_model.errors import NemoError
from nemo_model.features import CPU, CUDA, FeatureExtractor


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "backbone.onnx"
    path.write_bytes(tiny.backbone())
    return path


@pytest.fixture(scope="module")
def extractor(onnx_path: Path) -> FeatureExtractor:
    return FeatureExtractor(onnx_path, providers=[CPU])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_features_are_float32_and_unit(extractor: FeatureExtractor) -> None:
    found = extractor(noise(3, 128, 192, 3))
    assert found.shape == (3, 16, 24, tiny.CHANNELS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=3), 1.0, atol=1e-5)
    assert extractor.channels == tiny.CHANNELS


def test_a_batch_is_its_members(extractor: FeatureExtractor) -> None:
    crops = noise(4, 64, 96, 3)
    together = extractor(crops)
    alone = np.concatenate([extractor(crop[None]) for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert extractor(crops[:0]).shape == (0, 8, 12, tiny.CHANNELS)


def test_cell_i_sees_the_pixels_around_8i_plus_7(extractor: FeatureExtractor) -> None:
    """One red spot on grey: the cell centred on it has the feature of its colour."""
    crop = np.full((1, 128, 192, 3), 128, dtype=np.uint8)
    i, j = 5, 11
    crop[0, 8 * i + 3 : 8 * i + 12, 8 * j + 3 : 8 * j + 12] = (220, 128, 128)
    found = extractor(crop)[0]
    np.testing.assert_allclose(
        found[i, j], tiny.features_of(np.array([[220.0, 128, 128]]))[0], atol=1e-5
    )
    grey = tiny.features_of(np.array([[128.0] * 3]))[0]
    np.testing.assert_allclose(found[i + 2, j], grey, atol=1e-5)
    np.testing.assert_allclose(found[i, j - 2], grey, atol=1e-5)


def test_colours_are_rgb(extractor: FeatureExtractor) -> None:
    red = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    red[..., 0] = 228
    found = extractor(red)[0, 1, 1]
    expected, swapped = tiny.features_of(np.array([[228.0, 0, 0], [0, 0, 228.0]]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - swapped).max() > 0.1


def test_crops_may_be_views(extractor: FeatureExtractor) -> None:
    crops = noise(1, 64, 96, 3)
    flipped = crops[:, :, ::-1]
    np.testing.assert_array_equal(extractor(flipped), extractor(flipped.copy()))


@pytest.mark.parametrize(
    "shape", [(1, 225, 224, 3), (1, 224, 225, 3), (1, 120, 192, 3), (1, 0, 32, 3), (1, 32, 0, 3)]
)
def test_sizes_that_would_give_a_wrong_map_are_refused(
    extractor: FeatureExtractor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(NemoError, match="multiples of 32"):
        extractor(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, 128, 192, 3), dtype=np.float32),
        np.zeros((128, 192, 3), dtype=np.uint8),
        np.zeros((1, 3, 128, 192), dtype=np.uint8),
        np.zeros((1, 128, 192, 4), dtype=np.uint8),
    ],
)
def test_wrong_crops_are_refused(extractor: FeatureExtractor, crops: np.ndarray) -> None:
    with pytest.raises(NemoError, match="need uint8"):
        extractor(crops)


def test_the_provider_is_the_one_that_runs(onnx_path: Path, extractor: FeatureExtractor) -> None:
    assert extractor.provider == CPU
    default = FeatureExtractor(onnx_path)
    assert default.provider in onnxruntime.get_available_providers()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_not_there_is_said_to_be_not_there(
    onnx_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """onnxruntime falls back to the CPU without a word; the extractor reports what is active."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with caplog.at_level(logging.WARNING):
        found = FeatureExtractor(onnx_path, providers=[CUDA, CPU])
    assert found.provider == CPU
    assert f"{CUDA} is not active" in caplog.text
    assert CPU in caplog.text


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    for data in (b"", b"no model at all", tiny.backbone()[:-200]):
        (tmp_path / "bad.onnx").write_bytes(data)
        with pytest.raises(NemoError, match=r"bad\.onnx"):
            FeatureExtractor(tmp_path / "bad.onnx", providers=[CPU])
    with pytest.raises(NemoError, match=r"none\.onnx"):
        FeatureExtractor(tmp_path / "none.onnx", providers=[CPU])


def test_a_model_with_another_interface_is_refused(tmp_path: Path) -> None:
    shape = ["n", 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(NemoError, match="no backbone of nemo export"):
        FeatureExtractor(tmp_path / "other.onnx", providers=[CPU])


def with_second(onnx_path: Path, out: Path, node: onnx.NodeProto, shape: list[int | str]) -> Path:
    """The backbone with another output, `context`, that a node makes."""
    model = onnx.load(onnx_path)
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info("context", TensorProto.FLOAT, shape))
    onnx.save(model, out)
    return out


def test_a_second_output_is_the_context(onnx_path: Path, tmp_path: Path) -> None:
    numbers = helper.make_tensor("numbers", TensorProto.FLOAT, [1, 7], np.arange(7.0))
    node = helper.make_node("Constant", [], ["context"], value=numbers)
    path = with_second(onnx_path, tmp_path / "two.onnx", node, ["batch", 7])
    found = FeatureExtractor(path, providers=[CPU])
    assert found.context == 7
    features, context = found.look(noise(1, 64, 64, 3))
    assert features.shape[-1] == tiny.CHANNELS
    np.testing.assert_array_equal(context[0], np.arange(7.0))


def test_a_context_whose_size_depends_on_the_picture_is_refused(
    onnx_path: Path, tmp_path: Path
) -> None:
    features = onnx.load(onnx_path).graph.output[0].name
    node = helper.make_node("Flatten", [features], ["context"], axis=1)
    path = with_second(onnx_path, tmp_path / "two.onnx", node, ["batch", "all"])
    with pytest.raises(NemoError, match=r"two\.onnx: its second output is no context"):
        FeatureExtractor(path, providers=[CPU])


def test_without_a_second_output_the_context_is_empty(extractor: FeatureExtractor) -> None:
    assert extractor.context == 0
    assert extractor.look(noise(2, 64, 64, 3))[1].shape == (2, 0)
