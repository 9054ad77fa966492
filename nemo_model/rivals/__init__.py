# SPDX-License-Identifier: Apache-2.0
"""The paper's rivals, trained on the same images as NeMo; see docs/rivals.md."""
