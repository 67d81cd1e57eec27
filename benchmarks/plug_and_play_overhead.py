"""Times what an iteration of a Plug-and-Play method costs beside its denoiser.

Magnetic resonance imaging at 256 x 256, 30 % of the frequencies, float32. With the
identity for a denoiser an iteration is the method itself: two Fourier transforms, sums
and norms. With networks the same loop is compared with the network alone, compiled.
Calls take turns in one process. An iteration is what 400 more of them take, over 400,
a call what is left; with networks times are of whole calls, over their iterations. Ends
with exit code 1 if a bound is broken.

    python benchmarks/plug_and_play_overhead.py [--only=SECTION,...] [--quick]
"""

import functools
import sys

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, run_sections, times, verdicts

from zoo.layers.operators import FourierMask
from zoo.models.denoisers import simple_cnn, unet
from zoo.solvers.plug_and_play import pnp_admm, pnp_drs, pnp_fbs, pnp_pdhg

SIDE = 256
METHODS = {"ADMM": pnp_admm, "DRS": pnp_drs, "FBS": pnp_fbs, "PDHG": pnp_pdhg}
MOST_MS = 1.0
MOST_RATIO = 1.1


def overhead(quick):
    """CPU milliseconds of an iteration whose denoiser does nothing, and of a call."""
    operator, y = problem()
    identity = keras.layers.Identity()
    few, many = 100, 500
    steps = {
        (name, count): functools.partial(
            solver, y, operator, identity, step=1.0, iterations=count, tolerance=0.0
        )
        for name, solver in METHODS.items()
        for count in (few, many)
    }
    taken = times(steps, (), 3 if quick else 15)
    rows, good = [], True
    for name in METHODS:
        less, more = np.array(taken[name, few]), np.array(taken[name, many])
        cpu, wall = (more - less) / (many - few)
        # The bound is set for ADMM.
        bound = {f"CPU <= {MOST_MS} ms": cpu <= MOST_MS} if name == "ADMM" else {}
        call = less[0] - few * cpu
        row = [name, f"{cpu:.2f}", f"{wall:.2f}", f"{call:.0f}", verdicts(bound)]
        rows.append(row)
        good &= all(bound.values())
    columns = ["method", "iteration, CPU ms", "iteration, wall ms", "call, CPU ms"]
    print_table([*columns, "bounds"], rows)
    return good


def networks(quick):
    """An iteration of ADMM beside the denoiser alone."""
    operator, y = problem()
    rows, good = [], True
    count = 20
    for name, network in {"SimpleCNN": simple_cnn(), "U-Net": unet()}.items():
        image = tf.convert_to_tensor(np.zeros((1, SIDE, SIDE, 1), "float32"))
        alone = tf.function(functools.partial(network, training=False), autograph=False)
        steps = {
            "alone": lambda alone=alone, image=image: [
                alone(image) for _ in range(count)
            ],
            "ADMM": functools.partial(
                pnp_admm,
                y,
                operator,
                network,
                step=1.0,
                iterations=count,
                tolerance=0.0,
            ),
        }
        taken = times(steps, (), 3 if quick else 9)
        ratios = [a / b for a, b in zip(taken["ADMM"], taken["alone"], strict=True)]
        bound = {f"CPU <= {MOST_RATIO}": ratios[0] <= MOST_RATIO}
        cells = [f"{taken[key][0] / count:.1f}" for key in steps]
        cells += [f"{ratio:.3f}" for ratio in ratios]
        rows.append([name, *cells, verdicts(bound)])
        good &= all(bound.values())
    columns = ["denoiser", "alone, CPU ms", "ADMM, CPU ms", "/ CPU", "/ wall", "bounds"]
    print_table(columns, rows)
    return good


def problem():
    """Returns the operator, and measurements of an image."""
    generator = np.random.default_rng(0)
    mask = generator.random((SIDE, SIDE)) < 0.3
    operator = FourierMask((SIDE, SIDE, 1), mask.astype("float32"))
    image = generator.random((1, SIDE, SIDE, 1), dtype="float32")
    return operator, np.asarray(operator(image))


if __name__ == "__main__":
    sys.exit(run_sections(__doc__, {"overhead": overhead, "networks": networks}))
