"""A headless Chromium, driven over the WebDriver protocol: JSON over HTTP."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
# All text of a page, also inside of web components.
TEXT = """
const read = node => [node.shadowRoot, ...node.childNodes].map(child =>
  !child || ["STYLE", "SCRIPT"].includes(child.tagName) ? "" :
  child.nodeType === Node.TEXT_NODE ? child.data : read(child)).join(" ");
return read(document.body).replace(/\\s+/g, " ");
"""
# The widths of the images that have been loaded.
IMAGES = """
const find = node => [node.shadowRoot, ...node.childNodes].flatMap(child =>
  !child ? [] : child.tagName === "IMG" ? [child.naturalWidth] : find(child));
return find(document.body).filter(width => width > 0);
"""


class Browser:
    """A browser with one window.

    Args:
        address: str, of the driver.
        size: pair of ints, of the window.
    """

    def __init__(self, address, size):
        flags = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
        flags += ["--disable-gpu", "--hide-scrollbars", "--window-size={},{}"]
        options = {
            "binary": CHROMIUM,
            "args": [flag.format(*size) for flag in flags],
        }
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options}
        self.address = address
        body = {"capabilities": {"alwaysMatch": capabilities}}
        session = self._send("POST", "/session", body)["sessionId"]
        self.address = f"{address}/session/{session}"

    def open(self, url):
        self._send("POST", "/url", {"url": url})

    def run(self, script):
        """Runs JavaScript in the page; returns what it returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": []})

    def wait_for(self, script, found, seconds=90):
        """Runs a script until `found` of what it returns; returns that."""
        deadline = time.monotonic() + seconds
        while not found(value := self.run(script)):
            assert time.monotonic() < deadline, f"not found in: {value}"
            time.sleep(0.3)
        return value

    def screenshot(self):
        """Returns the bytes of a PNG of the window."""
        return base64.b64decode(self._send("GET", "/screenshot"))

    def close(self):
        self._send("DELETE", "")

    def _send(self, method, path, body=None):
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]


@contextlib.contextmanager
def serving(command, announced):
    """Runs a server; yields what the regular expression `announced` finds it print."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        found = (re.search(announced, line) for line in process.stdout)
        yield next(match for match in found if match)[1]
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def browsing(size=(1280, 900)):
    """Yields a `Browser`."""
    with serving([DRIVER, "--port=0"], r"on port (\d+)\.$") as port:
        browser = Browser(f"http://127.0.0.1:{port}", size)
        try:
            yield browser
        finally:
            browser.close()
