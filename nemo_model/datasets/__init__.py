# SPDX-License-Identifier: Apache-2.0
"""Loaders, one per data format."""
