"""What type checkers read of `zoo.data`, which imports its modules when asked."""

import ast
import inspect

import zoo.data


def test_type_checkers_see_each_name_where_it_is():
    tree = ast.parse(inspect.getsource(zoo.data))
    seen = {
        (name.asname, f"{node.module}.{name.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("zoo.")
        for name in node.names
    }
    assert seen == {
        (name, f"zoo.data.{module}.{name}")
        for module, names in zoo.data._MODULES.items()
        for name in names
    }
