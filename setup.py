"""Packaging: sibling folders become the subpackages of `zoo`."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
SIBLINGS = ("layers", "losses", "optimizers", "apps")


def package_dirs():
    """Maps each import name to its folder: `zoo.layers` lies in `layers/`."""
    folders = ["zoo", *(f"zoo/{name}" for name in find_packages(ROOT / "zoo"))]
    for name in SIBLINGS:
        folders += [name, *(f"{name}/{sub}" for sub in find_packages(ROOT / name))]
    folders = [folder.replace(".", "/") for folder in folders]
    return {
        "zoo." * (not folder.startswith("zoo")) + folder.replace("/", "."): folder
        for folder in folders
    }


def version():
    text = (ROOT / "zoo" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.M).group(1)


PACKAGE_DIRS = package_dirs()

setup(
    name="keras-study-zoo",
    version=version(),
    description="Keras parts and reproducible studies: the import name is `zoo`.",
    # Links within the repository lead nowhere on PyPI: their text alone is kept.
    long_description=re.sub(
        r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)",
        r"\1",
        (ROOT / "README.md").read_text(encoding="utf-8"),
    ),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=sorted(PACKAGE_DIRS),
    package_dir=PACKAGE_DIRS,
    package_data={"zoo": ["py.typed"]}
    | {
        f"zoo.models.{name}": ["weights/*.md", "weights/*/*"]
        for name in ("denoisers", "gancs", "projector", "unrolled")
    },
    install_requires=[
        "absl-py>=2.1",
        # Imported by TensorFlow Datasets to prepare data, yet not required by it.
        "importlib-resources>=6.0",
        "keras>=3.12",
        "keras-tuner>=1.4.7",
        "markdown>=3.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pandas>=2.1",
        "pillow>=10.1",
        # Of which a test photograph comes, and the wavelets of scikit-image.
        "PyWavelets>=1.5",
        "scikit-image>=0.22",
        "scikit-learn>=1.3",
        "scipy>=1.11",
        "tensorboard>=2.19",
        "tensorflow>=2.19",
        "tensorflow-datasets>=4.9.7",
        "threadpoolctl>=3.2",
    ],
    extras_require={
        # The peers that benchmarks time beside us.
        "benchmark": ["cvxpy>=1.5"],
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.8", "mkdocstrings[python]>=1.0"],
        # A denoiser that is free for non-commercial use.
        "bm3d": ["bm3d>=4.0.3"],
        # Models outside of Keras: `model.export(path, format="onnx")`.
        "onnx": ["onnx", "onnxruntime", "tf2onnx"],
        "gpu": ["tensorflow[and-cuda]>=2.19"],
        "test": [
            *("build", "hypothesis", "jax", "mypy", "pytest", "pytest-xdist", "ruff"),
            "setuptools>=77",
        ],
    },
    entry_points={"console_scripts": ["zoo=zoo.apps.__main__:main"]},
)
