"""The scripts in `examples` run as they stand."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_a_plain_keras_tuner_script_tunes_what_zoo_builds(tmp_path):
    command = [sys.executable, ROOT / "examples" / "tune.py", "--trials=2"]
    done = subprocess.run(
        [*command, "--epochs=3", f"--folder={tmp_path}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *best, tested = done.stdout.splitlines()
    assert {"batch_size", "loss", "network", "normalization", "optimizer"} <= {
        line.split()[0] for line in best if line
    }
    # Of ten classes a tenth would be chance.
    assert float(tested.removeprefix("test accuracy ")) > 0.3
    assert len(list((tmp_path / "digits").glob("trial_*"))) == 2
