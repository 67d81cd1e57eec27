"""Every docstring example runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = (
    *("apps", "data", "games", "layers", "losses", "metrics", "models", "optimizers"),
    *("solvers",),
)
MODULES = ["zoo", "zoo._backend"] + [
    found.name
    for name in (*PACKAGES, "study")
    for package in [importlib.import_module(f"zoo.{name}")]
    for found in [
        package.__spec__,
        *pkgutil.walk_packages(package.__path__, f"zoo.{name}."),
    ]
    if not found.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed
