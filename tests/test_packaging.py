"""The wheel holds the whole of zoo, and only zoo, and works away from the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from zoo.apps import STUDIES

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = (
    *("data", "games", "layers", "losses", "metrics", "models", "optimizers"),
    *("solvers", "study"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Builds the wheel from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    skipped = shutil.ignore_patterns(
        ".*", "runs", "build", "dist", "*.egg-info", "docs"
    )
    shutil.copytree(ROOT, folder / "source", ignore=skipped)
    subprocess.run(
        [sys.executable, "-m", "build", "-w", "--no-isolation", "-o", ".", "source"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def call(wheel, tmp_path_factory):
    """Installs the wheel into a bare environment; calls a command there, elsewhere.

    The dependencies come from this environment's folder, by a path file: its own
    editable installs are not seen through one.
    """
    home = tmp_path_factory.mktemp("bare")
    venv.create(home / "venv", with_pip=True, symlinks=True)
    python = home / "venv" / "bin" / "python"
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, env=environment)
    (target,) = (home / "venv" / "lib").glob("*/site-packages")
    dependencies = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (target / "dependencies.pth").write_text("\n".join(dependencies))

    def run(*command):
        program, *arguments = command
        return subprocess.run(
            [str(home / "venv" / "bin" / program), *arguments],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
        )

    run.home = home
    return run


def test_the_wheel_holds_zoo_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"zoo", wheel.name.split("-py3")[0] + ".dist-info"}
    files = {
        "zoo/" * (path.parts[0] != "zoo") + path.as_posix()
        for folder in ("zoo", "layers", "losses", "optimizers", "apps")
        for path in (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))
    }
    assert {name for name in names if name.endswith(".py")} == files
    weights = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "zoo").glob("models/*/weights/*/*")
    }
    assert len(weights) > 20
    assert weights | {"zoo/py.typed"} <= set(names)


def test_every_public_name_is_there(call):
    lines = [f"from zoo.{package} import *" for package in PACKAGES]
    lines += ["import zoo.apps.games, zoo.apps.large_batch, zoo.apps.margins, os"]
    lines += ["assert os.getcwd() not in zoo.__path__, zoo.__path__"]
    lines += [f"assert zoo.__file__.startswith({str(call.home)!r}), zoo.__file__"]
    lines += ["print(GhostBatchNorm(8).name, load_images().name)"]
    done = call("python", "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ghost_batch_norm digits\n"


@pytest.mark.parametrize("name", ["layers", "losses", "optimizers", "apps"])
def test_no_folder_is_installed_at_the_top(call, name):
    done = call("python", "-c", f"import {name}")
    assert "ModuleNotFoundError" in done.stderr


def test_the_command_lists_and_runs_studies(call):
    done = call("zoo")
    assert done.returncode == 0, done.stderr
    assert "large_batch" in done.stdout
    done = call("zoo", "large_batch", "--help")
    assert "--virtual_batch_size" in done.stdout and "--preset" in done.stdout
    small = ("--trials=1", "--epochs=1")
    done = call("zoo", "large_batch", "--experiment=regimes", *small)
    assert done.returncode == 0, done.stderr
    report = call.home / "runs/large_batch/regimes/report.md"
    assert "# Large batches" in report.read_text()
    done = call("zoo", "large_botch")
    assert done.returncode == 1
    known = ", ".join(STUDIES)
    assert done.stderr == f"zoo: error: unknown study 'large_botch': one of {known}\n"


@pytest.mark.parametrize("command", [["-m", "zoo.apps"], ["-c", "import zoo.apps"]])
def test_a_bare_checkout_works_from_any_folder(command, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_parts_import_quickly():
    code = (
        "import keras, sys, time; start = time.process_time(); import zoo.layers; "
        "print(time.process_time() - start, 'tensorflow_datasets' in sys.modules, "
        "'zoo.study' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *heavy = done.stdout.split()
    assert float(seconds) < 0.2
    assert heavy == ["False", "False"]
