"""How `diffengine` is built and what it needs. Installed from a checkout only: on PyPI that name is
another project."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PARTS = ["engine", "kernels", "analysis", "bench"]
VERSION = re.search(
    r'__version__ = "(.+)"', Path(".src/diffengine/__init__.py").read_text(encoding="utf-8")
)
assert VERSION is not None

TSNE = ["openTSNE", "scikit-learn"]
FAISS_GPU = ["faiss-gpu"]
CUML = ["cuml-cu13>=26.6", "numba>=0.64", *TSNE]

setup(
    name="diffengine",
    version=VERSION[1],
    description="When, during denoising, does a masked diffusion language model know the answer?",
    license="MIT",
    python_requires=">=3.11",
    # The four folders at the root are the sub-packages of `diffengine`; .src/diffengine holds its
    # __init__ and links to them, so that a checkout works without an install (PYTHONPATH=.src) and
    # editors see one package.
    packages=["diffengine"]
    + [f"diffengine.{p}" for p in find_packages(include=[f"{q}*" for q in PARTS])],
    package_dir={"diffengine": ".src/diffengine"} | {f"diffengine.{part}": part for part in PARTS},
    package_data={
        "diffengine": ["py.typed"],
        "diffengine.engine": ["data/*"],
        "diffengine.engine.models.bundled": [
            "*.md",
            "*.jsonl",
            "checkpoint/*",
            "block_checkpoint/*",
        ],
        "diffengine.analysis.show": ["assets/*"],
    },
    # Lower bounds, because GPU machines bring their own torch; the exact versions tried are in
    # constraints.txt and, for torch 2.11, constraints-device.txt.
    install_requires=[
        "torch>=2.11",
        "transformers>=5.17",
        'triton>=3.6; platform_system == "Linux"',
        "numpy",
        "h5py>=3.11",
        "scipy",
        "matplotlib",
        "click",
        "tqdm",
        "safetensors",
        "tokenizers",
        "jinja2",
        "ray",
    ],
    extras_require={
        # Apart, so that what keeps one from installing (cuML's CUDA 13, faiss-gpu's CUDA 12) does
        # not lose the other. cuML and numba by version: a numba before 0.64 does not say which
        # numpy it stands, so that a resolver takes a beta of it with numpy 2.5, which does not
        # import, or cuML 0.0.0a0, an empty folder. openTSNE stands in for it.
        "faiss-gpu": FAISS_GPU,
        "cuml": CUML,
        "gpu": [*FAISS_GPU, *CUML],
        "tsne": TSNE,
        "cpu": ["faiss-cpu", *TSNE, "threadpoolctl"],
        "math": ["math-verify"],
        "parquet": ["pyarrow"],
        "xarray": ["xarray", "h5netcdf"],
        # xdist passes the tests on both cores of a small machine; diffusers has second
        # implementations of two commit rules.
        "test": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "mypy",
            "xarray",
            "h5netcdf",
            "math-verify",
            "pyarrow",
            "diffusers>=0.42",
        ],
    },
    entry_points={"console_scripts": ["diffengine = diffengine.engine.cli.command_line:main"]},
)
