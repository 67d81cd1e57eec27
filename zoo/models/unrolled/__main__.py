"""Trains one of the networks that come with weights.

    python -m zoo.models.unrolled lamp_bg_6 --folder=trained

goes on where it was killed, and ends by writing `trained/lamp_bg_6.npz`.
"""

import argparse
import pathlib

import numpy as np
from keras import ops

from zoo.models.unrolled.pretrained import PUBLIC, RECIPES, fixture
from zoo.models.unrolled.training import train


def main():
    parser = argparse.ArgumentParser(
        prog="python -m zoo.models.unrolled", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("name", help="such as lamp_bg_8")
    parser.add_argument("--weights", choices=tuple(RECIPES), default=PUBLIC)
    parser.add_argument("--folder", default="trained", help="where all is written")
    arguments = parser.parse_args()
    recipes = RECIPES[arguments.weights]
    if arguments.name not in recipes:
        parser.error(f"{arguments.name} must be one of {', '.join(recipes)}")
    recipe, folder = recipes[arguments.name], pathlib.Path(arguments.folder)
    problem, y, x = fixture(arguments.weights)
    network = recipe.build(problem.matrix)
    validation = (y.astype("float32"), x)
    # The tied network's own training, where that is there.
    tied = folder / arguments.name.removesuffix("_untied")
    train(
        network, problem, recipe.stages, validation=validation, folder=tied, verbose=1
    )
    if recipe.untied:
        network = network.untie()
        train(
            network,
            problem,
            recipe.untied,
            validation=validation,
            folder=folder / arguments.name,
            verbose=1,
        )
    path = folder / f"{arguments.name}.npz"
    learned = [ops.convert_to_numpy(weight) for weight in network.trainable_weights]
    # Half precision moves no error of theirs by 0.001 dB.
    learned = [one.astype("float16") if one.ndim > 1 else one for one in learned]
    np.savez_compressed(path, *learned)
    print(path)


if __name__ == "__main__":
    main()
