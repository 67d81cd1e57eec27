"""Imports point down: parts know floor 0 only, apps know everything."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SIBLINGS = ("layers", "losses", "optimizers", "apps")
FILES = sorted(
    path
    for folder in ("zoo", *SIBLINGS)
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imports(path):
    """Yields the full names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path):
    """Returns the import name of a file, without `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "zoo" else ("zoo", *parts)
    return ".".join(parts).removesuffix(".__init__")


def allowed(name, target):
    """Whether the module `name` may import `target`, a name below `zoo`."""
    part = name.split(".")[1:2]
    if f"{target}.".startswith(("zoo._backend.", "zoo._types.")):
        return True
    if part and part[0] in ("layers", "losses", "optimizers"):
        return target.startswith(f"zoo.{part[0]}.")
    if part == ["_backend"] or not part:
        return False
    return part == ["apps"] or not target.startswith("zoo.apps")


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_point_down(path):
    for target in imports(path):
        first = target.split(".")[0]
        assert first not in SIBLINGS, f"{path} imports {first}: write zoo.{first}"
        if first == "zoo":
            assert allowed(module(path), target), f"{path} must not import {target}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_parts_know_no_single_backend(path):
    part = module(path).split(".")[1:2]
    if part and part[0] in ("layers", "losses", "optimizers"):
        roots = {target.split(".")[0] for target in imports(path)}
        types = {"collections", "typing"}
        plain = {"dataclasses", "itertools", "math", "numbers", "warnings"}
        assert roots <= {"keras", "numpy", "zoo", *types, *plain}


def test_the_rules_catch_what_they_forbid():
    assert not allowed("zoo.layers.ghost", "zoo.models.mlp")
    assert not allowed("zoo.layers.ghost", "zoo.losses.angular")
    assert not allowed("zoo.models.mlp", "zoo.apps.large_batch")
    assert not allowed("zoo._backend", "zoo.layers")
    assert allowed("zoo.layers.ghost", "zoo._types.Array")
    assert allowed("zoo.models.mlp", "zoo.layers.GhostBatchNorm")
    assert allowed("zoo.apps.large_batch", "zoo.study.main")


def test_no_two_classes_are_saved_under_one_name():
    names = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for call in getattr(node, "decorator_list", []):
                if "register_keras_serializable" in ast.unparse(call):
                    given = {word.arg: word.value.value for word in call.keywords}
                    names.append((given["package"], given.get("name", node.name)))
    assert len(names) > 50
    assert len(set(names)) == len(names)
