"""Holds what the games promise: exactness, cost, and how soon equilibria are reached.

Each section prints a table and holds its bounds; ends with exit code 1 if one is
broken. Steps take turns in one process, and ratios are of median CPU times, which other
work on the machine disturbs less than wall times.

    python benchmarks/games.py [--only=SECTION,...] [--quick]
"""

import argparse
import sys

from adjustments import adjustments

SECTIONS = {
    "adjustments": adjustments,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    good = True
    for name in arguments.only.split(","):
        print(f"\n## {name}\n")
        good &= SECTIONS[name](arguments.quick)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
