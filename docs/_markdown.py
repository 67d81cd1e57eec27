"""Markdown of docstrings, links and pictures, as the site has them."""

import functools
import posixpath
import re
import textwrap

from _generate import DOCS, ROOT, first_paragraph, packages, parts

CARDS = sorted(ROOT.glob("zoo/models/*/weights/README.md"))
# The sections of a docstring that are lists of `name: text`, and that are text.
LISTS = r"Args(?: of the call)?|Call arguments|Attributes|Raises|Warns"
TEXTS = r"Returns(?: of the call)?"


def pictures():
    """Returns the gallery: every picture of every page, with the page's link."""
    lines = []
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        shown = re.findall(r"!\[[^\]]*\]\(images/[^)]+\)", text)
        if shown and path.name != "gallery.md":
            title = re.search(r"^# (.+)$", text, re.M)[1]
            lines += ["", f"## [{title}]({path.name})", ""]
            for picture in shown:
                lines += [picture, f"*{picture[2:].partition(']')[0]}*", ""]
    return "\n".join(lines)


def to_markdown(docstring):
    """Turns a docstring into Markdown: lists of arguments, blocks of examples."""
    text = re.sub(
        rf"^({LISTS}|{TEXTS}):\n((?: .*\n?|\n)+)", _section, docstring, flags=re.M
    )
    text = re.sub(r"^(Example|Reference):(?= )", r"**\1:**", text, flags=re.M)
    text = re.sub(r"^(Example|Reference):$", r"**\1**", text, flags=re.M)
    text = re.sub(r"^>>> (?:.+\n?)+", _fence, text, flags=re.M)
    # Lines of formulas stay lines.
    text = re.sub(r"^(`[^`\n]+`,?)\n(?=`)", r"\1  \n", text, flags=re.M)
    return link_parts(text)


def _section(match):
    body = textwrap.dedent(match[2]).strip()
    if re.fullmatch(LISTS, match[1]):
        body = re.sub(r"^(\S[^:]*): ", r"- `\1`: ", body, flags=re.M)
    return f"**{match[1]}**\n\n{body}\n\n"


def _fence(match):
    return f"```pycon\n{match[0].rstrip()}\n```\n"


@functools.cache
def linked():
    """Returns the names that have a page."""
    names = {name for part in parts() for name in part.names}
    return names | {package.__name__ for package in packages()}


def link_parts(markdown):
    """Links every `zoo.name` outside of code blocks to its page."""
    known = linked()
    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    for index in range(0, len(pieces), 2):
        pieces[index] = re.sub(
            r"(?<!\[)`(zoo\.[\w.]+)`(?!\])",
            lambda found: (
                f"[{found[0]}][{found[1]}]" if found[1] in known else found[0]
            ),
            pieces[index],
        )
    return "".join(pieces)


def link_files(markdown, folder):
    """Makes text of links to files that are no pages, and links cards to their page."""

    def replace(match):
        target = (folder / match[2]).resolve()
        if target in CARDS:
            title = first_paragraph(target.read_text(encoding="utf-8"))[2:]
            anchor = title.lower().replace(" ", "-")
            page = posixpath.relpath("model_cards.md", folder.relative_to(DOCS))
            return f"[{match[1]}]({page}#{anchor})"
        return match[0] if target.is_relative_to(DOCS) else match[1]

    return re.sub(r"\[([^\]]+)\]\((\.\.?/[^)#]+)\)", replace, markdown)
