"""Times losses, their layers and their training steps beside what they would replace.

Each section prints a table and holds its bounds; ends with exit code 1 if one is
broken. Steps take turns in one process, and ratios are of median CPU times, which other
work on the machine disturbs less than wall times.

    python benchmarks/losses.py [--only=SECTION,...] [--quick]
"""

import sys

from bi_tempered import bi_tempered, normaliser
from heads import heads
from large_margin import large_margin
from pairs import pairs
from timing import run_sections

if __name__ == "__main__":
    sys.exit(
        run_sections(
            __doc__,
            {
                "normaliser": normaliser,
                "bi_tempered": bi_tempered,
                "heads": heads,
                "large_margin": large_margin,
                "pairs": pairs,
            },
        )
    )
