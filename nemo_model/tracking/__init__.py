# SPDX-License-Identifier: Apache-2.0
"""The parts of the tracker, one idea per file; `nemo_model.tracker` puts them together."""
