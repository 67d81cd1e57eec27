"""Lists the studies, or runs one: `zoo NAME --flags`."""

import runpy
import sys

from zoo.apps import STUDIES


def main():
    """The `zoo` command."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in (None, "--help", "-h"):
        print("usage: zoo STUDY [--flags]; zoo STUDY --help lists its flags\n")
        for study, summary in STUDIES.items():
            print(f"  {study:18}{summary}")
        return
    if name not in STUDIES:
        sys.exit(f"zoo: error: unknown study {name!r}: one of {', '.join(STUDIES)}")
    del sys.argv[1]
    runpy.run_module(f"zoo.apps.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
