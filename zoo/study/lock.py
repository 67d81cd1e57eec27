"""One run at a time in a study's folder.

The operating system lets go of a lock when the last process that has it ends, killed or
not, so that none is ever left behind. The processes that a run starts inherit its lock:
orphans of a killed run keep others out until they have ended, which takes a second.
"""

import contextlib
import os
import pathlib
import socket
import sys
import time

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
# Seconds that the orphans of a killed run have to end.
PATIENCE = 3.0


@contextlib.contextmanager
def hold(folder):
    """Keeps other runs out of a folder, which is made if it is not there.

    Where the system cannot lock files, says so and goes on.

    Raises:
        ValueError: another run holds it, which the one line names.
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    deadline = time.monotonic() + PATIENCE
    while (file := _acquire(folder)) is None:
        if time.monotonic() > deadline:
            owner = _owner(folder) or "another process"
            raise ValueError(
                f"{folder} is in use by {owner}: wait for it or use another --logdir"
            )
        time.sleep(0.1)
    with file:
        yield


def is_held(folder):
    """Says whether a run holds the folder now."""
    path = pathlib.Path(folder) / LOCK
    if not path.exists():
        return False
    with open(path, "a") as file:
        return not _try(file)


def _acquire(folder):
    """Returns the open file whose lock is had, or `None`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = open(path, "a")  # noqa: SIM115
    with contextlib.ExitStack() as unless_had:
        unless_had.enter_context(file)
        # Another run may have set the folder aside since the file was opened.
        if not (_try(file, say=True) and _is_at(file, path)):
            return None
        os.set_inheritable(file.fileno(), True)
        # Only for the line that others are refused with.
        with contextlib.suppress(OSError):
            owner = f"process {os.getpid()} on {socket.gethostname()}"
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), owner.encode())
        unless_had.pop_all()
        return file


def _try(file, say=False):
    """Locks an open file; returns whether no other process has the lock."""
    try:
        if fcntl is None:
            raise OSError("there is no fcntl")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if say:
            print(
                f"{file.name} cannot be locked ({error}): see that no other process "
                "runs this study",
                file=sys.stderr,
            )
    return True


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(folder):
    try:
        return (folder / LOCK).read_text(encoding="utf-8")
    except OSError:
        return ""
