"""What the experiments on deep unrolling share: flags, images, a clock."""

import time

from absl import flags

from zoo.apps.imaging import load_images
from zoo.study import Study


class UnrollingStudy(Study):
    """An experiment of the report on unrolled networks for images."""

    name = "deep_unrolling"
    objective = ("psnr", "max")

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
        if config.search != "grid":
            raise ValueError(f"--search={config.search} must be grid: nothing is tuned")
        if config.strategy != "none":
            raise ValueError(
                f"--strategy={config.strategy} must be none: nothing is trained"
            )
        self.names, self.truth = load_images(config)


def timed(run, count):
    """Returns what a function returns, and its seconds an image."""
    start = time.perf_counter()
    result = run()
    return result, (time.perf_counter() - start) / count
