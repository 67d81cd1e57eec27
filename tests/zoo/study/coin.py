"""A study without training, for tests of the machine: run as a script or imported."""

import errno
import os
import time

from zoo.study import Section, Study, main


class Coin(Study):
    name = "coin"
    title = "A coin"
    objective = ("heads", "max")
    presets = {
        "quick": {"dataset": ["none"], "epochs": 2, "batch_size": 4, "runs": 3},
    }

    def prepare(self, config):
        if os.environ.get("KERASTUNER_TUNER_ID") == os.environ.get("COIN_LATE", ""):
            time.sleep(600)

    def grid(self, hp, config):
        hp.Choice("side", ["a", "b"])
        hp.Choice("seed", [config.seed + run for run in range(config.runs)])

    def space(self, hp, config):
        hp.Float("bias", 0.1, 1.0, sampling="log")

    def run(self, hp, config, logdir):
        if "COIN_LOG" in os.environ:
            with open(os.environ["COIN_LOG"], "a") as file:
                file.write(f"{os.path.basename(logdir)}\n")
        time.sleep(float(os.environ.get("COIN_SECONDS", 0)))
        if "COIN_FULL" in os.environ:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if os.environ.get("COIN_BAD", "no side") in (hp.values.get("side"), "all"):
            raise RuntimeError("the coin\nfell off the table")
        if hp.values.get("side") == os.environ.get("COIN_NAN", "no side"):
            return {"heads": float("nan")}
        value = hp.values.get("bias", 0.0) or ord(hp.get("side")) + hp.get("seed") / 10
        return {"heads": value, "epochs": config.epochs, "curve": [value, 2 * value]}

    def report(self, results, config):
        return [Section("Sides", table=results.table.filter(["run", "heads"]))]


if __name__ == "__main__":
    main(Coin)
