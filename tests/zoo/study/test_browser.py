"""What a person sees: TensorBoard and the report, in a real browser.

`SCREENSHOTS=docs/images pytest tests/zoo/study/test_browser.py` keeps its pictures.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from zoo.apps.margins import Noise

# The lengths of the lines that charts have drawn.
LINES = """
const find = node => [node.shadowRoot, ...node.childNodes].flatMap(child =>
  !child ? [] : child.tagName === "path" && child.closest(".render-area") ?
  [child.getAttribute("d").split("L").length] : find(child));
return find(document.body).filter(length => length > 1);
"""
ROOT = pathlib.Path(__file__).parents[3]


def load(name):
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


web = load("browser")
pytestmark = pytest.mark.skipif(
    not (web.CHROMIUM and web.DRIVER),
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a study that trained four networks a little."""
    logdir = tmp_path_factory.mktemp("browser") / "runs"
    flags = ["--experiment=noise", "--epochs=10", "--loss=cross_entropy,bi_tempered"]
    flags += ["--corruption=0,0.4", "--runs=1", f"--logdir={logdir}"]
    subprocess.run(
        [sys.executable, "-m", "zoo.apps.margins", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return logdir / "margins" / "noise"


@pytest.fixture(scope="module")
def browser():
    with web.browsing((1600, 900)) as browser:
        yield browser


@pytest.fixture(scope="module")
def tensorboard(folder):
    """The address of a TensorBoard that shows the study."""
    command = [sys.executable, "-m", "tensorboard.main", "--port=0"]
    command += ["--host=localhost", f"--logdir={folder}"]
    with web.serving(command, r"at (http://\S+)") as address:
        yield address


@pytest.fixture
def show(browser, tensorboard):
    """Opens a tab of TensorBoard; waits until the page's text has all of `parts`."""

    def show(tab, *parts):
        # Without this only the fragment would change, and no page be loaded.
        browser.open("about:blank")
        browser.open(f"{tensorboard}#{tab}")
        return browser.wait_for(
            web.TEXT, lambda text: all(part in text for part in parts)
        )

    return show


def keep(browser, name):
    if "SCREENSHOTS" in os.environ:
        path = pathlib.Path(os.environ["SCREENSHOTS"], f"{name}.png")
        path.write_bytes(browser.screenshot())


def runs(folder):
    return sorted(path.parent.name for path in folder.glob("*/result.json"))


def test_scalars_of_every_run_are_drawn(browser, show, folder):
    text = show("scalars", "epoch_loss", "epoch_accuracy", *runs(folder))
    assert "No dashboards are active" not in text
    lines = browser.wait_for(LINES, lambda lengths: len(lengths) >= len(runs(folder)))
    # Each through ten epochs.
    assert min(lines) == 10
    keep(browser, "tensorboard_scalars")


def test_hparams_hold_every_run_with_its_result(browser, show, folder):
    objective = Noise.objective[0]
    text = show("hparams", f"result/{objective}", *runs(folder))
    for run in runs(folder):
        scalars = json.loads((folder / run / "result.json").read_text())["scalars"]
        row = text.partition(run)[2][:100]
        assert "finished" in row
        assert f"{scalars[objective]:.5g}" in row
    keep(browser, "tensorboard_hparams")


def test_the_reports_figures_are_images(browser, show, folder):
    (figure,) = (folder / "figures").glob("*.png")
    show("images", f"figures/{figure.stem}")
    widths = browser.wait_for(web.IMAGES, bool)
    width = int.from_bytes(figure.read_bytes()[16:20], "big")
    assert widths == [width]


def test_flags_and_the_report_are_texts(browser, show):
    show("text", "--corruption=0", "report")
    browser.run(
        """
        const find = node => [node.shadowRoot, ...node.childNodes].flatMap(child =>
          !child ? [] : child.tagName === "BUTTON" ? [child] : find(child));
        find(document.body)
          .filter(button => button.innerText.trim().startsWith("report"))
          .forEach(button => button.click());
        """
    )
    browser.wait_for(web.TEXT, lambda text: "Accuracy under label noise" in text)


@pytest.mark.parametrize("width", [1000, 500])
def test_the_page_shows_all_tables_and_figures_and_fits(folder, width):
    """A headless window is no narrower than 500 pixels."""
    with web.browsing((width, 1400)) as browser:
        browser.open((folder / "report.html").as_uri())
        text = browser.wait_for(web.TEXT, lambda text: "How this was made" in text)
        images = browser.run(web.IMAGES)
        wide, shown = browser.run(
            "const page = document.documentElement;"
            "return [page.scrollWidth, page.clientWidth]"
        )
        if width == 1000:
            keep(browser, "report")
    assert wide <= shown <= width
    report = (folder / "report.md").read_text()
    for heading in re.findall(r"^##? (.+)$", report, re.M):
        assert heading in text
    for row in re.findall(r"^\| (?!---)(.+) \|$", report, re.M):
        for cell in row.split(" | "):
            assert cell in text
    assert len(images) == report.count("](figures/") >= 1
