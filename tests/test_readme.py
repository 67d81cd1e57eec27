"""Whatever README shows, runs."""

import os
import pathlib
import pkgutil
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


COMMANDS = [
    line.partition("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
]


def call(*command, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_every_kind_of_block_is_tested():
    assert set(re.findall(r"```(\w+)", README)) == {"sh", "python"}


@pytest.mark.parametrize(
    "code",
    [code for page in PAGES for code in blocks("python", page.read_text("utf-8"))],
)
def test_python_runs(code, tmp_path):
    done = call(sys.executable, "-c", code + "\nmodel.summary()", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, tmp_path):
    program, *arguments = shlex.split(command)
    if program == "make":
        # The demo is the study's `quick` preset; a test must not call all tests.
        done = call(program, "--dry-run", *arguments, cwd=ROOT)
        assert {"demo": "zoo.apps.large_batch", "test": "pytest"}[arguments[0]] in (
            done.stdout
        )
    elif program == "tensorboard":
        done = call(sys.executable, "-m", "tensorboard.main", "--version", cwd=tmp_path)
    else:
        assert program == "python"
        if "zoo.apps.large_batch" in arguments and "--dry_run" not in arguments:
            # The same command on fewer points, of the experiment that needs no more.
            arguments += ["--experiment=regimes"]
            arguments += ["--epochs=1", "--runs=1", "--trials=2"]
        done = call(sys.executable, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for flag in arguments:
        if flag.startswith("--logdir="):
            folder = tmp_path / flag.partition("=")[2] / "large_batch/regimes"
            assert (folder / "report.md").exists()
            assert list(folder.glob("*/result.json"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_table_names_what_exists():
    for name in re.findall(r"`(zoo\.[\w.]+)`", README):
        assert pkgutil.resolve_name(name), name
