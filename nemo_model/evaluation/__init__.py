# SPDX-License-Identifier: Apache-2.0
"""How right an estimator is on labelled data: run, measure, report."""
