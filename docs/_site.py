"""The site's own pages, as a hook of MkDocs and an extension of mkdocstrings.

A page for each part, of its docstring; the gallery, of all pictures; the model cards.
"""

import re
import shutil
import sys

import griffe
from _generate import DOCS, ROOT, SIBLINGS, packages, parts
from _markdown import CARDS, link_files, link_parts, pictures, to_markdown
from mkdocs.structure.files import File

# Read from here, where folders lie as they are imported.
TREE = ROOT / "build" / "docs" / "zoo"


class Docstrings(griffe.Extension):
    """Rewrites each docstring once, as it is read."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def on_startup(command, dirty):
    # For the extension, which is loaded later, and for a bare checkout.
    sys.path[:0] = [str(ROOT), str(DOCS)]
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for path in (*(ROOT / "zoo").iterdir(), *(ROOT / name for name in SIBLINGS)):
        if path.name != "__pycache__":
            (TREE / path.name).symlink_to(path)


def on_config(config):
    nav = []
    for package in packages():
        pages = [part.page for part in parts() if part.package == package.__name__]
        nav.append({package.__name__: [index(package), *pages]})
    config.nav.append({"Parts": nav})


def on_files(files, config):
    texts = {part.page: part_page(part) for part in parts()}
    texts |= {index(package): package_page(package) for package in packages()}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    return files


def index(package):
    """Returns the page of a package."""
    return f"parts/{'/'.join(package.__name__.split('.')[1:])}/index.md"


def package_page(package):
    name = package.__name__
    text = f"# {name} {{ #{name} }}\n\n{package.__doc__}\n"
    for part in parts():
        for full in part.names:
            if full.rpartition(".")[0] == name:
                text += f"\n- `{full}`: {part.summary}"
    return text


def part_page(part):
    text = f"---\ntitle: {part.names[0].rpartition('.')[2]}\n---\n\n"
    # A package may have the name of a function; links then lead to the package.
    names = set(part.names) - {package.__name__ for package in packages()}
    text += "".join(f"[](){{ #{name} }}\n" for name in sorted(names))
    return text + f"\n::: {part.path}\n    options:\n      heading: {part.names[0]}\n"


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri == "gallery.md":
        markdown += pictures()
    if page.file.src_uri == "model_cards.md":
        texts = (path.read_text(encoding="utf-8") for path in CARDS)
        markdown += "".join("\n" + re.sub("^# ", "## ", text) for text in texts)
    folder = (DOCS / page.file.src_uri).parent
    return link_parts(link_files(markdown, folder))
