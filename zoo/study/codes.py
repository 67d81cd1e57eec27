"""Exit codes of a study's process."""

FINISHED = 0
# The user's, or the disk's.
MISTAKE = 1
FAILED_TRIALS = 2
STOPPED = 130
