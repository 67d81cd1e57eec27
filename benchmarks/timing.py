"""What all benchmarks share: interleaved timing, and bounds that are told and held."""

import argparse
import statistics
import time


def times(steps, inputs, rounds):
    """Medians of CPU and wall milliseconds: `{name: (cpu, wall)}`.

    The steps take turns, so that other work on the machine disturbs all alike.
    """
    seen = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(2):
            step(*inputs)
    for _ in range(rounds):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step(*inputs)
            seen[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: tuple(1e3 * statistics.median(column) for column in zip(*rows))  # noqa: B905
        for name, rows in seen.items()
    }


def verdicts(checks):
    """Joins bounds, `{text: whether it holds}`, and marks those that are broken."""
    return ", ".join(
        text if holds else f"**{text}: broken**" for text, holds in checks.items()
    )


def print_table(columns, rows):
    """Prints a Markdown table."""
    for cells in (columns, ["---"] * len(columns), *rows):
        texts = (str(cell).replace("|", r"\|") for cell in cells)
        print("|", " | ".join(texts), "|", flush=True)


def run_sections(description, sections):
    """Runs the sections that `--only` names; returns 1 if a bound is broken, else 0."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--only", default=",".join(sections), help="sections to run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(sections):
        known = ", ".join(sections)
        parser.error(f"--only={','.join(sorted(unknown))} must be of {known}")
    good = True
    for name in chosen:
        print(f"\n## {name}\n")
        good &= sections[name](arguments.quick)
    return 0 if good else 1
