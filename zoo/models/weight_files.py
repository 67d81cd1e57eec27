"""Weights that come with the package, each checked by the sum that stands beside it."""

import hashlib
import io

import numpy as np

SUMS = "SHA256SUMS"


def read(path):
    """Returns the arrays of a file.

    Args:
        path: `pathlib.Path` of an `.npz` file, in whose folder are the sums of all, as
            `sha256sum` prints them.

    Raises:
        ValueError: the file is not the one whose sum is known.
    """
    content = path.read_bytes()
    found, known = hashlib.sha256(content).hexdigest(), sums(path.parent)[path.name]
    if found != known:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {found}, and must be {known}. Install "
            "the package again"
        )
    with np.load(io.BytesIO(content)) as file:
        return [file[key] for key in file.files]


def sums(folder):
    """Returns the SHA-256 of each file of a folder, in hexadecimal, by its name."""
    lines = (folder / SUMS).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}
