"""A report's Markdown as one HTML file that needs nothing else, not even a network."""

import base64
import html

import markdown
from markdown.treeprocessors import Treeprocessor

# Nothing is fetched and no script runs, whatever a text holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 sans-serif; color: #222; max-width: 60rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
img { max-width: 100%; height: auto; }
table { display: block; overflow-x: auto; border-collapse: collapse;
  font-size: 0.9rem; overflow-wrap: normal; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #ccc; text-align: left;
  font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
tr:nth-child(even) td { background: #f6f6f6; }
code, pre { background: #f3f3f3; border-radius: 3px; }
code { padding: 0.1rem 0.2rem; }
pre { padding: 0.7rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #ddd; }
  img { background: white; }
  tr:nth-child(even) td, code, pre { background: #262626; }
  th, td { border-color: #555; }
}
"""


def to_page(title, text, images):
    """Formats Markdown as a self-contained HTML page.

    Args:
        title: str, of the browser's tab.
        text: str, Markdown. HTML in it is shown as it is written.
        images: dict of the paths that `text` has images at to PNG bytes.

    Returns:
        str.

    Example:

    >>> "<h2>1 &lt; 2</h2>" in to_page("Numbers", "## 1 < 2", {})
    True
    """
    converter = markdown.Markdown(extensions=["tables", "fenced_code", "sane_lists"])
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    converter.treeprocessors.register(_Embed(images), "embed", 0)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{converter.convert(text)}
</body>
</html>
"""


class _Embed(Treeprocessor):
    """Puts each image's bytes where its path is."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def run(self, root):
        for image in root.iter("img"):
            if image.get("src") in self.images:
                png = base64.b64encode(self.images[image.get("src")]).decode()
                image.set("src", f"data:image/png;base64,{png}")
