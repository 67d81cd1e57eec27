"""Trains a denoiser on photographs and writes its weights.

    python -m zoo.models.denoisers unet --sigma=25 --folder=trained

goes on where it was killed, and ends by writing `trained/unet_25.npz`.
"""

import argparse
import pathlib

import keras
import numpy as np

from zoo.data.natural_images import load_natural_images
from zoo.models.denoisers.inference import evaluate
from zoo.models.denoisers.pretrained import RECIPES, build, plain, save
from zoo.models.denoisers.training import train


def main():
    parser = argparse.ArgumentParser(
        prog="python -m zoo.models.denoisers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("name", choices=tuple(RECIPES))
    parser.add_argument(
        "--sigma",
        default="25",
        help="noise in grey levels of 255, such as 25, or 0-55 for a network that is "
        "given its level",
    )
    parser.add_argument("--folder", default="trained", help="where all is written")
    parser.add_argument("--data_dir", help="your images, in folders train, validation")
    for option in ("steps", "batch_size", "patch_size", "evaluate_every", "seed"):
        parser.add_argument(f"--{option}", type=int)
    parser.add_argument("--learning_rate", type=float)
    arguments = vars(parser.parse_args())
    name = f"{arguments.pop('name')}_{arguments.pop('sigma')}"
    folder = pathlib.Path(arguments.pop("folder"))
    data_dir = arguments.pop("data_dir")
    given = {key: value for key, value in arguments.items() if value is not None}
    keras.utils.set_random_seed(given.get("seed", 0))
    try:
        network, recipe, levels = build(name)
        images, validation = (
            load_natural_images(part, recipe.color, data_dir)
            for part in ("train", "validation")
        )
        train(
            network,
            images,
            levels,
            validation=validation,
            folder=folder / name,
            verbose=1,
            **{**recipe.settings, **given},
        )
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    path = folder / f"{name}.npz"
    network = plain(network)
    save(network, path)
    scores = evaluate(network, validation, np.mean(levels))
    print(path, " ".join(f"{key} {score:.2f}" for key, score in scores.items()))


if __name__ == "__main__":
    main()
