"""Trains a projector on photographs and writes its weights.

    python -m zoo.models.projector --folder=trained

goes on where it was killed, and ends by writing `trained/projector_32.npz` and the
discriminators beside it.
"""

import argparse
import pathlib

import keras

from zoo.data.natural_images import load_natural_images
from zoo.models.denoisers.pretrained import load, save
from zoo.models.projector.pretrained import BUILDERS, SETTINGS
from zoo.models.projector.training import train


def main():
    parser = argparse.ArgumentParser(
        prog="python -m zoo.models.projector", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--folder", default="trained", help="where all is written")
    parser.add_argument("--data_dir", help="your images, in folders train, validation")
    parser.add_argument("--start", help="folder of weights to begin with")
    for option in ("steps", "batch_size", "evaluate_every", "seed"):
        parser.add_argument(f"--{option}", type=int)
    parser.add_argument("--learning_rate", type=float)
    arguments = vars(parser.parse_args())
    folder = pathlib.Path(arguments.pop("folder"))
    data_dir, start = arguments.pop("data_dir"), arguments.pop("start")
    given = {key: value for key, value in arguments.items() if value is not None}
    keras.utils.set_random_seed(given.get("seed", 0))
    networks = {name: build() for name, build in BUILDERS.items()}
    projector, image_discriminator, latent_discriminator = networks.values()
    try:
        if start is not None:
            for name, network in networks.items():
                load(network, pathlib.Path(start) / f"{name}.npz")
        images, validation = (
            load_natural_images(part, data_dir=data_dir)
            for part in ("train", "validation")
        )
        records = train(
            projector,
            images,
            image_discriminator=image_discriminator,
            latent_discriminator=latent_discriminator,
            validation=validation,
            folder=folder,
            verbose=1,
            **{**SETTINGS, **given},
        )
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        parser.error(str(error))
    for name, network in networks.items():
        save(network, folder / f"{name}.npz")
    print(f"{folder}: validation {records[-1]['psnr']:.2f} dB")


if __name__ == "__main__":
    main()
