"""Times an epoch of training with each deficit beside the same without one.

An epoch is a `fit` of a small All-CNN on 4,096 images of 28 x 28, in batches of 128. In
the pipeline a deficit is the `map_fn` of `zoo.data.batches`; in the model it is the
first layer. Epochs take turns in one process; ratios are of medians. What a deficit
costs in the pipeline is far below what epochs differ by: the bound is on the CPU time
of the batches alone, beyond that of clean ones, as a part of an epoch. Ends with exit
code 1 if a bound is broken.

    python benchmarks/deficits.py [--only=SECTION,...] [--quick]
"""

import sys

import keras
import numpy as np
from timing import print_table, run_sections, times, verdicts

from zoo.data import batches, steps_per_epoch
from zoo.data.deficits import Blur, LabelPermutation, VerticalFlip, WhiteNoise
from zoo.models import all_cnn

SIDE, CLASSES, SAMPLES, BATCH = 28, 10, 4096, 128
BOUND = 1.03
STEPS = steps_per_epoch(SAMPLES, BATCH)
CLEAN = "clean"


def pipeline(quick):
    """Each deficit as the `map_fn` of the pipeline."""
    deficits = {
        "Blur, bilinear": Blur(),
        "Blur, average": Blur(method="average"),
        "VerticalFlip": VerticalFlip(),
        "WhiteNoise": WhiteNoise(),
        "LabelPermutation": LabelPermutation(CLASSES),
    }
    maps = {CLEAN: None, **{name: one.corrupt for name, one in deficits.items()}}
    model = classifier()
    epochs = {name: epoch(model, map_fn) for name, map_fn in maps.items()}
    rounds = 3 if quick else 15
    trained = times(epochs, (), rounds)
    fed = times({name: feed(map_fn) for name, map_fn in maps.items()}, (), rounds)
    rows, good = [], True
    for name in maps:
        part = (fed[name][0] - fed[CLEAN][0]) / trained[CLEAN][0]
        checks = {}
        if name != CLEAN:
            checks = {f"<= {BOUND - 1:.0%}": part <= BOUND - 1}
        cells = [*trained[name], fed[name][0]]
        rows.append([name, *map(round, cells), f"{part:.2%}", verdicts(checks)])
        good &= all(checks.values())
    columns = ["deficit", "epoch, CPU ms", "epoch, wall ms", "batches, CPU ms"]
    print_table([*columns, "cost / epoch", "bound"], rows)
    return good


def model(quick):
    """Image deficits as the first layer of the model, and one that is switched off."""
    off = Blur()
    off.active.assign(False)
    deficits = {
        "Blur, bilinear": Blur(),
        "Blur, not active": off,
        "VerticalFlip": VerticalFlip(),
        "WhiteNoise": WhiteNoise(),
    }
    epochs = {name: epoch(classifier(deficit)) for name, deficit in deficits.items()}
    return compare({CLEAN: epoch(classifier()), **epochs}, quick)


def classifier(*layers):
    keras.utils.set_random_seed(0)
    shape = (SIDE, SIDE, 1)
    network = all_cnn(shape, CLASSES, filters=(16,) * 3 + (32,) * 5)
    result = keras.Sequential([keras.Input(shape), *layers, network])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    result.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    return result


def data(map_fn=None):
    generator = np.random.default_rng(0)
    images = generator.random((SAMPLES, SIDE, SIDE, 1), dtype="float32")
    labels = generator.integers(0, CLASSES, SAMPLES).astype("int32")
    return batches(images, labels, BATCH, map_fn=map_fn)


def feed(map_fn=None):
    """Returns a function that makes the batches of one epoch."""
    iterator = iter(data(map_fn))

    def take():
        for _ in range(STEPS):
            next(iterator)

    return take


def epoch(model, map_fn=None):
    """Returns a function that trains for one epoch."""
    dataset = data(map_fn)
    return lambda: model.fit(dataset, steps_per_epoch=STEPS, shuffle=False, verbose=0)


def compare(epochs, quick):
    """Prints a table; returns whether all bounds hold."""
    taken = times(epochs, (), 3 if quick else 15)
    rows, good = [], True
    for name, spent in taken.items():
        ratios = [ours / clean for ours, clean in zip(spent, taken[CLEAN], strict=True)]
        checks = {}
        if name != CLEAN:
            clocks = zip(("CPU", "wall"), ratios, strict=True)
            checks = {f"{clock} <= {BOUND}": ratio <= BOUND for clock, ratio in clocks}
        cells = [f"{value:.0f}" for value in spent] + [f"{r:.3f}" for r in ratios]
        rows.append([name, *cells, verdicts(checks)])
        good &= all(checks.values())
    print_table(["epoch", "CPU ms", "wall ms", "/ CPU", "/ wall", "bounds"], rows)
    return good


if __name__ == "__main__":
    sys.exit(run_sections(__doc__, {"pipeline": pipeline, "model": model}))
