"""Files that are there whole or not at all."""

import errno
import os
import pathlib

# What the system says of a disk that is full, worn out or may not be written.
_PROBLEMS = [
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
]


def write_atomically(path, content):
    """Writes bytes or text so that a kill leaves the old file or the new, whole.

    Raises:
        OSError: it names `path`, which is as it was.
    """
    path = pathlib.Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if partial.exists():
            partial.unlink()
        # The system names no file where a write fails, or the partial one.
        raise OSError(error.errno, error.strerror, str(path)) from None


def disk_problem(error):
    """Returns what an exception, TensorFlow's too, says of the disk, or `None`."""
    return next((one for one in _PROBLEMS if one in str(error)), None)
