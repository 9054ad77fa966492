# SPDX-License-Identifier: Apache-2.0
"""The paper's tables, made again: plan what to train and evaluate, do what is missing, report."""
