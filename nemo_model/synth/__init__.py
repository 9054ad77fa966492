# SPDX-License-Identifier: Apache-2.0
"""Training and test sets rendered from folders of 3D models. Needs neither torch nor ROS."""
