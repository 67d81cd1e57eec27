"""Runs the benchmarks one after the other and writes `benchmarks/RESULTS.md`.

    python benchmarks/all.py [--only=NAME,...] [--quick]

Results of benchmarks that are not run stay as they are in the file. Ends with exit code
1 if a bound is broken. All of them take hours on two cores, and times are worth
something on an otherwise idle machine alone.
"""

import argparse
import ast
import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

FOLDER = pathlib.Path(__file__).parent
NAMES = (
    *("ghost_batch_norm", "losses", "games", "matrix_sensing", "sharpness"),
    *("sparse_recovery", "unrolled_stability", "deficits", "fisher"),
    *("real_spectral_norm", "plug_and_play_overhead", "plug_and_play"),
    "deep_unrolling",
)
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn", "cvxpy", "bm3d")
HEAD = """# What was measured

Each section is what one command printed, with the machine and the versions that it ran
on. Peers take turns with ours in one process; times are medians. Bounds that do not
hold are marked **broken**.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(NAMES), help="benchmarks to run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    for name in chosen:
        if name not in NAMES:
            parser.error(f"--only={name} must hold some of {', '.join(NAMES)}")
    path = FOLDER / "RESULTS.md"
    sections = read(path)
    good = True
    for name in NAMES:
        if name in chosen:
            sections[name], code = section(name, ["--quick"] * arguments.quick)
            good &= code == 0
            # What has run is kept, whatever comes after it.
            write(path, sections)
    return 0 if good else 1


def section(name, options):
    """Runs a benchmark; returns its section and exit code."""
    command = [f"benchmarks/{name}.py", *options]
    print(" ".join(command), flush=True)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=FOLDER.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    minutes = (time.monotonic() - start) / 60
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    title = ast.get_docstring(ast.parse(source)).splitlines()[0]
    # A table of one section is under that of the benchmark.
    output = re.sub("^## ", "### ", done.stdout, flags=re.M).strip()
    if not output:
        output = f"**It failed:** `{done.stderr.strip().splitlines()[-1]}`"
    ended = "all bounds hold" if done.returncode == 0 else "**not all bounds hold**"
    facts = (ended, f"{minutes:.0f} min", str(datetime.date.today()), where())
    said = f"`python {' '.join(command)}`: {', '.join(facts)}"
    return f"{title}\n\n{said}\n\n{output}\n", done.returncode


def where():
    """Says which machine this is, and the versions of what counts."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{processor()}, {os.cpu_count()} cores; {', '.join(found)}"


def processor():
    """The name of the processor, where the system tells."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return re.search(r"^model name\s*: (.+)$", text, re.M).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def read(path):
    """Returns the sections of a file of results by name."""
    if not path.exists():
        return {}
    parts = re.split(r"^## (\w+)\n\n", path.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def write(path, sections):
    """Writes sections, in the order of `NAMES`."""
    parts = [
        f"## {name}\n\n{sections[name].strip()}\n" for name in NAMES if name in sections
    ]
    path.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
