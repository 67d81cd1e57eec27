"""The two networks that learn a mixture of Gaussians in the plane."""

import keras

# Twice the coordinates: the grid's, of deviation 1.1, change D's slope too slowly.
SCALE = 2.0


def discriminator(units=(128, 128, 128), activation="relu"):
    """Builds the discriminator, from points in the plane to one logit."""
    return perceptron(2, 1, units, activation, SCALE)


def generator(latent_dim, units=(128, 128, 128), activation="relu"):
    """Builds the generator, from noise to points in the plane."""
    return perceptron(latent_dim, 2, units, activation)


def perceptron(inputs, outputs, units, activation, scale=1.0):
    layers = [keras.layers.Dense(size, activation) for size in units]
    if scale != 1.0:
        layers = [keras.layers.Rescaling(scale), *layers]
    return keras.Sequential(
        [keras.Input((inputs,)), *layers, keras.layers.Dense(outputs)]
    )
