# SPDX-License-Identifier: Apache-2.0
"""ROS 2 around nemo_model: node, conversion, joiner, diagnostics, replay. Thin."""
