"""Files that are there whole or not at all."""

import os
import pathlib


def write_atomically(path, content):
    """Writes bytes or text so that a kill leaves the old file or the new, whole."""
    path = pathlib.Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
