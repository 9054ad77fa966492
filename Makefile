# `make help` says what there is.
SHELL := /bin/bash
VENV ?= .venv
PYTHON_BIN := $(VENV)/bin/python
# Keep numeric libraries from starting a thread per core beside each other.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup train-env test-env demo test lint format bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup:  ## a working environment in .venv: ROS 2 (yours if sourced, else PyPI wheels), no torch; GPU=1 for onnxruntime-gpu
	@scripts/setup.sh

train-env:  ## the same with torch and onnx, for `nemo train` and `nemo export`
	@scripts/setup.sh --train

test-env:  ## the same with torch and the developer's tools
	@scripts/setup.sh --test

demo: setup  ## play the shipped recordings into the launched node and score them (no ROS, GPU or camera needed)
	@$(PYTHON_BIN) -m nemo_ros.demo

test: test-env lint  ## everything that CI runs: lint, types, tests with real ROS 2 processes
	@$(PYTHON_BIN) -m pytest --durations=15

lint: test-env  ## ruff and mypy
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

format: test-env  ## let ruff put the code in shape
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

bench: setup  ## solver, backbone, several objects, memory, roofline; torch's reference; the node
	@$(PYTHON_BIN) benchmarks/bench.py && $(PYTHON_BIN) benchmarks/roofline.py && $(PYTHON_BIN) benchmarks/node.py

clean:  ## remove what setup and builds made
	rm -rf $(VENV) build dist install log out *.egg-info
