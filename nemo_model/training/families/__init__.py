# SPDX-License-Identifier: Apache-2.0
"""Several categories over one backbone: settings, samples, loss, training, export."""
