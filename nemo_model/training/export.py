# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a bundle: ONNX backbone, neural mesh, card; checked against torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nemo_model.bundle import Bundle, Card, write_bundle
from nemo_model.errors import NemoError
from nemo_model.meshes.neural import NeuralSubtype
from nemo_model.training.backbone import Backbone
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.network import NeuralMesh, sizes
from nemo_model.training.viewpoint import shown
from nemo_model.viewpoint import Reader

OPSET = 18
EXACT = 1e-4
"""Largest difference allowed between torch and the exported graph, in a unit feature."""
PARITY = 3e-2
"""The same once its weights are stored as float16, which rounds them by up to 0.05 %. Of white
noise, on which this is checked, features of a fine-tuned family moved by 0.014 (cosine 0.9995)."""
HALF = "__half"
"""Ending of the names of weights stored as float16."""
SMALL = 64
"""Weights with fewer values stay float32; the others are stored as float16."""


class _FromBytes(nn.Module):
    """uint8 (B, H, W, 3) to features (B, H/8, W/8, C), and the context (B, D) if there is one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features, context = self.backbone.with_context(image.permute(0, 3, 1, 2).float())
        features = features.permute(0, 2, 3, 1)
        return (features,) if context is None else (features, context)


def trained(checkpoint: Checkpoint) -> NeuralMesh:
    """Return the model with the averaged weights of a checkpoint, for inference."""
    model = NeuralMesh(*sizes(checkpoint.meshes, checkpoint.config))
    model.load_state_dict(checkpoint.average)
    return model.eval()


def backbone_onnx(model: NeuralMesh, height: int, width: int) -> bytes:
    """Export the backbone with a free batch size and image size (multiples of 32).

    Raises:
        NemoError: when onnxruntime's features differ from torch's.
    """
    network = _FromBytes(model.backbone).eval()
    outputs = ["features"] if model.backbone.context is None else ["features", "context"]
    example = torch.randint(0, 255, (2, height, width, 3), dtype=torch.uint8)
    free = {
        0: torch.export.Dim("batch", max=256),
        1: 32 * torch.export.Dim("rows32", min=1, max=64),
        2: 32 * torch.export.Dim("cols32", min=1, max=64),
    }
    with torch.no_grad():  # where nothing is learned, Clipped is a plain ReLU6
        program = torch.onnx.export(
            network, (example,), input_names=["image"], output_names=outputs,
            dynamic_shapes={"image": free}, dynamo=True, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    exported = program.model_proto.SerializeToString()
    stored = store_half(exported)
    for data, most in ((exported, EXACT), (stored, PARITY)):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        noise = torch.Generator().manual_seed(0)
        for shape in ((1, height, width, 3), (3, height + 32, width + 64, 3)):
            image = torch.randint(0, 255, shape, dtype=torch.uint8, generator=noise)
            given = session.run(None, {"image": image.numpy()})
            with torch.no_grad():
                expected = network(image)
            for name, one, other in zip(outputs, given, expected, strict=True):
                scale = max(1.0, float(other.abs().max()))
                worst = float(np.abs(one - other.numpy()).max()) / scale
                if worst > most:
                    raise NemoError(
                        f"export: {name} of onnxruntime and torch differ by {worst:.1e} at {shape}"
                    )
    return stored


def reader_of(model: NeuralMesh, place: int = 0) -> Reader | None:
    """What a category reads the viewpoint with, for its bundle; None where nothing is learned."""
    if model.readers is None:
        return None
    return reader_in(model.state_dict(), place)


def reader_in(state: Mapping[str, Tensor], place: int) -> Reader:
    """What a category reads the viewpoint with, of the state of a NeuralMesh."""
    weight, bias, count = (state[f"readers.{name}"][place] for name in ("weight", "bias", "count"))
    return Reader(weight.numpy().copy(), bias.numpy().copy(), shown(count).numpy())


def store_half(data: bytes) -> bytes:
    """Return the model with its large weights stored as float16, and without the exporter's notes.

    Halves the file; onnxruntime folds the casts once, so inference stays float32 and as fast.
    """
    model = onnx.load_from_string(data)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or numpy_helper.to_array(tensor).size < SMALL:
            kept.append(tensor)
            continue
        half = f"{tensor.name}{HALF}"
        values = numpy_helper.to_array(tensor).astype(np.float16)
        kept.append(numpy_helper.from_array(values, half))
        casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
    for node in model.graph.node:  # the exporter notes the stack of every call, paths and all
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph = model.graph
    for value in [*graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        value.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def export(checkpoint: Checkpoint, card: Card, out: Path) -> Bundle:
    """Write the bundle of a checkpoint to a folder and return it as loaded from there."""
    model = trained(checkpoint)
    with torch.no_grad():
        theta, beta = model.bank.theta.numpy(), model.bank.beta.numpy()
    onnx = backbone_onnx(model, card.height, card.width)
    starts = np.cumsum([len(each.mesh.vertices) for each in checkpoint.meshes.meshes])[:-1]
    first, *more = (
        NeuralSubtype(each.subtype, each.mesh, np.ascontiguousarray(rows), each.outline)
        for each, rows in zip(checkpoint.meshes.meshes, np.split(theta, starts), strict=True)
    )
    bundle = Bundle(
        out, card, first.mesh, first.features, beta, first.outline, first.subtype, tuple(more),
        reader_of(model),
    )  # fmt: skip
    write_bundle(bundle, onnx)
    return Bundle.load(out)
