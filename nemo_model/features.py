# SPDX-License-Identifier: Apache-2.0
"""Image crops to feature maps by onnxruntime, on CUDA where it really runs, else on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from nemo_model.camera import STRIDE
from nemo_model.errors import NemoError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_LOG = logging.getLogger(__name__)


class FeatureExtractor:
    """The backbone of a bundle.

    Args:
        onnx_path: the exported backbone: uint8 (B, H, W, 3) RGB -> float32 (B, H/8, W/8, C), and
            perhaps a context (B, D).
        threads: CPU threads of one inference.
        providers: onnxruntime providers to ask for; by default CUDA where onnxruntime has it,
            then the CPU.

    Attributes:
        provider: the provider that is active, not the one that was asked for (onnxruntime falls
            back silently).
        channels: C, or None when the file leaves it open.
        context: D, or 0 where there is no context.

    Raises:
        NemoError: when the file is not a model that onnxruntime can run, or is of another shape.
    """

    def __init__(
        self, onnx_path: Path, threads: int = 1, providers: Sequence[str] | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        wanted = list(providers) if providers else _default_providers()
        try:
            self._session = onnxruntime.InferenceSession(str(onnx_path), options, wanted)
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise NemoError(f"{onnx_path}: onnxruntime cannot load it ({error})") from error
        self.provider = str(self._session.get_providers()[0])
        if self.provider != wanted[0]:
            _LOG.warning("%s is not active, features run on %s", wanted[0], self.provider)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(outputs) > 2:
            raise NemoError(f"{onnx_path}: is no backbone of nemo export (one uint8 image input)")
        self._input = inputs[0].name
        last = outputs[0].shape[-1] if outputs[0].shape else None
        self.channels = last if isinstance(last, int) else None
        wide = outputs[1].shape[-1] if len(outputs) == 2 and outputs[1].shape else 0
        if not isinstance(wide, int):
            raise NemoError(f"{onnx_path}: its second output is no context of known size")
        self.context = wide

    def __call__(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return unit features (B, H/8, W/8, C) of crops (B, H, W, 3) RGB. Raises as `look`."""
        return self.look(crops)[0]

    def look(
        self, crops: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return unit features (B, H/8, W/8, C) and the context (B, D) of crops (B, H, W, 3) RGB.

        Raises:
            NemoError: for another shape or type, or sizes that are no multiples of 32 (with those
                onnxruntime would give a wrong map without a word).
        """
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise NemoError(f"features: crops {crops.shape} {crops.dtype}, need uint8 (B, H, W, 3)")
        if any(side % (4 * STRIDE) or not side for side in crops.shape[1:3]):
            raise NemoError(f"features: crop {crops.shape[1:3]} must be multiples of {4 * STRIDE}")
        features, *context = self._session.run(None, {self._input: np.ascontiguousarray(crops)})
        empty = np.zeros((len(crops), 0), dtype=np.float32)
        return (
            np.asarray(features, dtype=np.float32),
            np.asarray(context[0], dtype=np.float32) if context else empty,
        )


def _default_providers() -> list[str]:
    available = onnxruntime.get_available_providers()
    return [CUDA, CPU] if CUDA in available else [CPU]
