# SPDX-License-Identifier: Apache-2.0
"""Start a training run from a shipped bundle instead of from ImageNet weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from nemo_model.bundle import Bundle
from nemo_model.errors import NemoError
from nemo_model.training.export import HALF


def bundle_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a bundle as the state of a training.train.NeuralMesh.

    The large ones were stored as float16 (see training.export.store_half).

    Raises:
        BundleError: when the bundle is not intact.
        NemoError: when its backbone is none of ours.
    """
    bundle = Bundle.load(folder)
    stored = {
        tensor.name.removesuffix(HALF): numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundle.onnx_path).graph.initializer
    }
    state = {
        name: torch.from_numpy(np.array(values, dtype=np.float32))
        for name, values in stored.items()
        if name.startswith("backbone.")
    }
    if not state:
        raise NemoError(f"{bundle.onnx_path}: holds no weights that nemo export named")
    state["bank.raw_theta"] = torch.from_numpy(np.array(bundle.features, dtype=np.float32))
    state["bank.raw_beta"] = torch.from_numpy(np.array(bundle.clutter, dtype=np.float32))
    return state
