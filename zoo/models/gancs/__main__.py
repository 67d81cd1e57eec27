"""Trains a generator on photographs and writes its weights.

    python -m zoo.models.gancs --acceleration=4 --folder=trained

goes on where it was killed, and ends by writing `trained/gancs_4.npz`.
"""

import argparse
import pathlib

import keras

from zoo.data.natural_images import load_natural_images
from zoo.models.denoisers.pretrained import save
from zoo.models.gancs.networks import discriminator
from zoo.models.gancs.pretrained import SETTINGS, build, file_name, pretrained
from zoo.models.gancs.training import evaluate, train


def main():
    parser = argparse.ArgumentParser(
        prog="python -m zoo.models.gancs", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--acceleration",
        type=float,
        default=4,
        help="R: one frequency in R is measured",
    )
    parser.add_argument("--folder", default="trained", help="where all is written")
    parser.add_argument("--data_dir", help="your images, in folders train, validation")
    parser.add_argument(
        "--start", type=int, help="acceleration of the trained weights to begin with"
    )
    parser.add_argument(
        "--adversarial",
        type=float,
        help="weight of the cost that a discriminator gives, such as 0.025; without, "
        "none is trained",
    )
    for option in ("steps", "batch_size", "evaluate_every", "seed"):
        parser.add_argument(f"--{option}", type=int)
    for option in ("learning_rate", "noise"):
        parser.add_argument(f"--{option}", type=float)
    arguments = vars(parser.parse_args())
    acceleration = arguments.pop("acceleration")
    folder = pathlib.Path(arguments.pop("folder"))
    data_dir, start = arguments.pop("data_dir"), arguments.pop("start")
    given = {key: value for key, value in arguments.items() if value is not None}
    keras.utils.set_random_seed(given.get("seed", 0))
    path = folder / file_name(acceleration)
    try:
        network = build(acceleration)
        if start is not None:
            # All but the mask.
            for one, other in zip(
                network.trainable_weights,
                pretrained(start).trainable_weights,
                strict=True,
            ):
                one.assign(other)
        rival = discriminator() if "adversarial" in given else None
        images, validation = (
            load_natural_images(part, data_dir=data_dir)
            for part in ("train", "validation")
        )
        train(
            network,
            images,
            discriminator=rival,
            validation=validation,
            folder=path.with_suffix(""),
            verbose=1,
            **{**SETTINGS, **given},
        )
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        parser.error(str(error))
    save(network, path)
    scores = evaluate(network, validation, given.get("noise", 0.0))
    print(path, " ".join(f"{key} {score:.2f}" for key, score in scores.items()))


if __name__ == "__main__":
    main()
