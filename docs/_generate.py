"""All public names: `python docs/_generate.py` writes `docs/contents.md` of them."""

import ast
import dataclasses
import functools
import importlib
import inspect
import pathlib
import pkgutil
import re
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SIBLINGS = ("layers", "losses", "optimizers")
PACKAGES = (
    *SIBLINGS,
    *("models", "data", "metrics", "games", "solvers", "study"),
)
HEAD = """# Contents

Every public name, the papers that it comes from, its file, and the benchmarks that use
it. `python docs/_generate.py` writes this page from the docstrings.
"""


@dataclasses.dataclass(frozen=True)
class Part:
    """A public object.

    Attributes:
        value: the object.
        names: tuple of str, its full public names, of the deepest package first.
        module: str, the module that defines it.
    """

    value: object
    names: tuple
    module: str

    @property
    def package(self):
        return self.names[0].rpartition(".")[0]

    @property
    def file(self):
        return pathlib.Path(sys.modules[self.module].__file__).relative_to(ROOT)

    @property
    def path(self):
        """The object's full name in its module, which may not be a public one."""
        name = self.names[0].rpartition(".")[2]
        return f"{self.module}.{getattr(self.value, '__name__', name)}"

    @property
    def page(self):
        """The page of the site."""
        return f"parts/{'/'.join(self.names[0].split('.')[1:])}.md"

    @property
    def docstring(self):
        """The docstring, not that of a base class or of a builtin type."""
        if not callable(self.value):
            return ""
        own = vars(self.value) if inspect.isclass(self.value) else {}
        return inspect.cleandoc(own.get("__doc__", self.value.__doc__) or "")

    @property
    def summary(self):
        if not callable(self.value):
            return f"The constant `{self.value!r}`."
        return first_paragraph(self.docstring)


def packages():
    """Yields the public packages below `zoo`, imported."""
    for name in PACKAGES:
        package = importlib.import_module(f"zoo.{name}")
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.ispkg and "._" not in found.name:
                yield importlib.import_module(found.name)


@functools.cache
def parts():
    """Returns all public objects, package by package."""
    names = {}
    for package in packages():
        for name in package.__all__:
            value = getattr(package, name)
            if not isinstance(value, types.ModuleType):
                entry = names.setdefault(id(value), (value, []))
                entry[1].append(f"{package.__name__}.{name}")
    return tuple(
        Part(value, names, getattr(value, "__module__", None) or origin(names[0]))
        for value, found in names.values()
        for names in [tuple(sorted(found, key=lambda name: -name.count(".")))]
    )


def origin(name):
    """Returns the module that a package imports a constant from."""
    package, _, name = name.rpartition(".")
    tree = ast.parse(inspect.getsource(sys.modules[package]))
    return next(
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and name in {it.name for it in node.names}
    )


@functools.cache
def used(path):
    """Returns the full names below `zoo` that a file imports, or reaches by dots."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    local, names = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for it in node.names:
                local[it.asname or it.name.split(".")[0]] = (
                    it.name if it.asname else it.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for it in node.names:
                local[it.asname or it.name] = f"{node.module}.{it.name}"
                names.add(f"{node.module}.{it.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            names.add(f"{local.get(first)}.{rest}")
    return names


def users(part, folder):
    """Returns the Python files below a folder that use a part."""
    return [
        path.relative_to(ROOT)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not used(path).isdisjoint((*part.names, part.path))
    ]


def first_paragraph(text):
    return " ".join(text.partition("\n\n")[0].split())


def papers(docstring):
    """Returns authors, year and link of each paper under `Reference:`."""
    _, _, section = docstring.partition("\nReference:\n")
    found = []
    for item in re.split(r"^- ", section, flags=re.M)[1:]:
        item = " ".join(item.split())
        authors, year = re.match(r"(.+?),? \(?(\d{4})\b", item).groups()
        paper = f"{authors}, {year}"
        if link := re.search(r"arXiv:([\w.-]+/\d{7}|\d{4}\.\d{4,5})", item):
            paper += f", [{link[0]}](https://arxiv.org/abs/{link[1]})"
        elif link := re.search(r"https://doi\.org/([^)]+)", item):
            paper += f", [doi:{link[1]}]({link[0]})"
        found.append(paper)
    return found


def contents():
    """Returns the text of `docs/contents.md`."""
    lines = [HEAD]
    for package in packages():
        rows = [part for part in parts() if part.package == package.__name__]
        if not rows:
            continue
        lines += [f"## {package.__name__}", "", first_paragraph(package.__doc__), ""]
        lines += ["| name | what it is | paper | file | benchmark |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for part in rows:
            cells = (
                ", ".join(f"`{name}`" for name in part.names),
                part.summary.replace("|", r"\|"),
                "; ".join(papers(part.docstring)),
                source(part.file),
                ", ".join(source(path) for path in users(part, "benchmarks")),
            )
            lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
        lines.append("")
    return "\n".join(lines)


def source(path):
    return f"[{path.as_posix()}](../{path.as_posix()})"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    (DOCS / "contents.md").write_text(contents(), encoding="utf-8")
