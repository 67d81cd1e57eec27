"""What the experiments on deep unrolling share: flags, images, a clock."""

import time

import numpy as np
from absl import flags

from zoo.apps.imaging import load_images, picture_grid
from zoo.study import Section
from zoo.study.tuning import Comparison, hold, refuse_hyperband


class UnrollingStudy(Comparison):
    """An experiment of the report on unrolled networks for images."""

    name = "deep_unrolling"
    objective = ("psnr", "max")
    # The flag of the problems that methods are compared on.
    compared: str | None = None

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("method", None, "Methods to compare.")
        flags.DEFINE_list(
            "images", None, "Names of test images, also phantom; or all of --data_dir."
        )
        flags.DEFINE_integer(
            "iterations", None, "Iterations of a method at most.", lower_bound=1
        )
        flags.DEFINE_list("rate", None, "Measurements, in parts of the pixels.")
        flags.DEFINE_string("operator", None, "What measures.")
        flags.DEFINE_integer(
            "depth", None, "Layers of LDAMP.", lower_bound=1, upper_bound=1000
        )
        flags.DEFINE_list("acceleration", None, "One frequency in so many is measured.")

    def check_common(self, config, methods):
        """Checks the flags of all experiments, and loads the images."""
        self.check_choices(config, "method", methods)
        if config.strategy != "none":
            raise ValueError(
                f"--strategy={config.strategy} must be none: nothing is trained"
            )
        self.names, self.truth = load_images(config)

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config, self.compared)

    def finished(self, results, config, methods, **point):
        """Yields each of `methods` that has finished at a point, and its runs."""
        for name in config.method:
            runs = results.select(method=name, **point)
            if len(runs):
                yield methods[name], runs

    def pictures(self, results, config, methods, score, title, name, **point):
        """Returns the section of the first image, as each method recovers it."""
        pictures = [("truth", self.truth[0])]
        for method, runs in self.finished(results, config, methods, **point):
            estimate = results.curves(runs["run"].iloc[0])["estimate"]
            number = float(np.squeeze(score(estimate, self.truth[0])))
            pictures.append((f"{method.title}, {number:.1f} dB", estimate))
        return Section(title, figure=picture_grid(pictures), name=name)


def timed(run, count):
    """Returns what a function returns, and its seconds an image."""
    start = time.perf_counter()
    result = run()
    return result, (time.perf_counter() - start) / count
