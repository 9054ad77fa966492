# SPDX-License-Identifier: Apache-2.0
"""Which meshes stand for a category, and their files."""
