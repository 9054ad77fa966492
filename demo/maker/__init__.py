# SPDX-License-Identifier: Apache-2.0
"""How the shipped recording was made: timeline, scene, render, ground truth, bag."""
