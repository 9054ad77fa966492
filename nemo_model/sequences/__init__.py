# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences with ground truth, to measure tracking on. Needs neither torch nor ROS."""
