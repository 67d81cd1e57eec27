"""Workers on this machine, started and watched by the process that was called.

Keras Tuner's chief and workers find each other by environment variables; over many
machines the user sets these, over one `run` does.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

from zoo.study.codes import FAILED_TRIALS, FINISHED, MISTAKE
from zoo.study.results import read_result

RESTARTS = 3
PARENT = "ZOO_STUDY_PARENT"


def role():
    """Returns `"single"`, or `"chief"` or `"worker"` as the environment says."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return "single"
    missing = [
        name
        for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")
        if name not in os.environ
    ]
    if missing:
        raise ValueError(f"KERASTUNER_ORACLE_IP is set, but {missing[0]} is not")
    if has_parent():
        threading.Thread(target=_end_with_parent, daemon=True).start()
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def has_parent():
    """Says whether another process of this machine started this one for its run."""
    return PARENT in os.environ


def _end_with_parent():
    while os.getppid() == int(os.environ[PARENT]):
        time.sleep(0.5)
    os._exit(1)


def run(count, folder, progress):
    """Runs the study in `count` processes and returns when all trials have ended.

    A worker that dies is started again under its name, so that Keras Tuner hands it
    the trial that it was running.

    Raises:
        OSError: the chief died, or a worker died too often.
    """
    folder = pathlib.Path(folder)
    (folder / "logs").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = [f"worker{number}" for number in range(count)]
    deaths = dict.fromkeys(names, 0)
    chief, running = None, {}
    try:
        chief = _start("chief", 0, folder, port)
        for number, name in enumerate(names):
            running[name] = _start(name, number, folder, port)
        while running:
            time.sleep(0.2)
            _tell(folder, progress)
            if chief.poll() in (FINISHED, FAILED_TRIALS):
                # All is done; a worker that comes only now would wait for an answer.
                break
            if chief.poll() is not None:
                log = folder / "logs" / "chief.log"
                raise OSError(
                    f"the chief ended with code {chief.returncode}: see {log}"
                )
            for name, process in list(running.items()):
                code = process.poll()
                log = folder / "logs" / f"{name}.log"
                if code == FINISHED:
                    del running[name]
                elif code == MISTAKE and (complaint := _complaint(log)):
                    # Another try would end alike.
                    raise OSError(complaint)
                elif code is not None:
                    deaths[name] += 1
                    if deaths[name] > RESTARTS:
                        raise OSError(f"{name} ended with code {code}: see {log}")
                    running[name] = _start(name, names.index(name), folder, port)
        _tell(folder, progress)
    finally:
        for process in filter(None, [*running.values(), chief]):
            process.terminate()
        for process in filter(None, [*running.values(), chief]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _tell(folder, progress):
    for path in folder.glob("*/result.json"):
        name = path.parent.name
        if name not in progress.seen and (result := read_result(path.parent)):
            progress.ended(name, result)


def _complaint(log):
    """Returns what the last line of a log says is wrong, or `None`."""
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
    return last.partition(": error: ")[2] or None


def program():
    """Returns what Python was called with: a module, or a file."""
    spec = sys.modules["__main__"].__spec__
    return ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]


def _start(name, number, folder, port):
    import tensorflow as tf

    import zoo

    environment = {
        **os.environ,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "KERASTUNER_TUNER_ID": name,
        PARENT: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(
            [
                str(pathlib.Path(zoo.__file__).parents[1]),
                *filter(None, [os.environ.get("PYTHONPATH")]),
            ]
        ),
    }
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = str(number % len(gpus))
    with open(folder / "logs" / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, *program(), f"--flagfile={folder / 'flags.txt'}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # It inherits the lock of the study's folder.
            close_fds=False,
        )
