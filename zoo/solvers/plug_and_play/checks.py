"""What is checked before an image is recovered."""

import math
from typing import Literal, TypeAlias

import keras
import numpy as np
from keras import ops

from zoo.layers.operators import LinearOperator
from zoo.losses.checks import check_number
from zoo.solvers.plug_and_play.counts import Pixelwise
from zoo.solvers.plug_and_play.fidelities import LeastSquares
from zoo.solvers.plug_and_play.priors import Prior
from zoo.solvers.plug_and_play.problem import takes_level

# Mean magnitude of intensities that belong to no image of [0, 1], however noisy.
LARGEST_MEAN = 4.0
TINY = float(np.finfo("float32").tiny)

Fidelity: TypeAlias = Literal["least_squares"] | LeastSquares | Pixelwise


def check_operator(operator):
    """Raises a `ValueError` unless it is one, of float32 or float64."""
    if not isinstance(operator, LinearOperator):
        raise ValueError(
            "`operator` must be a `zoo.layers.operators.LinearOperator`. "
            f"Received: operator of type {type(operator).__name__}"
        )


def check_fidelity(fidelity):
    """Returns a data term, by its name or as it is."""
    if fidelity == "least_squares":
        return LeastSquares()
    if isinstance(fidelity, (LeastSquares, Pixelwise)):
        return fidelity
    raise ValueError(
        "`fidelity` must be 'least_squares', a `Poisson` or a `PhotonCounting`. "
        f"Received: fidelity={fidelity!r}"
    )


def check_measurements(operator, fidelity, y):
    """Returns measurements in the operator's precision.

    Raises:
        ValueError: they do not belong to it, are not finite, or are of no image with
            intensities of about [0, 1].
    """
    y = np.asarray(y)
    shape = tuple(operator.measurement_shape)
    if y.shape[1:] != shape or y.ndim != len(shape) + 1 or not y.size:
        raise ValueError(
            f"`y` must be measurements [batch, {', '.join(map(str, shape))}] of the "
            f"operator. Received: y of shape {y.shape}"
        )
    _check_finite("y", y)
    if np.iscomplexobj(y) and not operator.is_complex:
        raise ValueError("`y` must be real for this operator. Received: complex y")
    fidelity.check(operator, y)
    double = operator.float_dtype == "float64"
    if operator.is_complex:
        return y.astype("complex128" if double else "complex64")
    return y.astype(operator.float_dtype)


def check_first(first, operator):
    """Raises a `ValueError` if a first image is of other intensities than [0, 1].

    What the operator makes of noise in [0, 1] tells what it multiplies images by.
    """
    noise = np.random.default_rng(0).random((1, *operator.image_shape))
    gain = _magnitude(ops.convert_to_numpy(operator.gram(noise))) / noise.mean()
    largest = _magnitude(first)
    if not largest <= LARGEST_MEAN * gain:
        raise ValueError(
            "`y` must be of images with intensities of about [0, 1]. "
            f"Received: y of images with a mean magnitude of {largest / gain:g}"
        )


def check_images(name, images, operator, batch=None):
    """Returns images of the operator's shape and precision.

    Raises:
        ValueError: they are of another shape, not finite, or of other intensities.
    """
    images = np.asarray(images)
    shape = tuple(operator.image_shape)
    if images.shape[1:] != shape or len(images) != (batch or len(images)):
        rows = batch or "batch"
        raise ValueError(
            f"`{name}` must be images [{rows}, {', '.join(map(str, shape))}]. "
            f"Received: {name} of shape {images.shape}"
        )
    _check_finite(name, images)
    mean = np.mean(np.abs(images))
    if not mean < LARGEST_MEAN:
        raise ValueError(
            f"`{name}` must have intensities of about [0, 1]. "
            f"Received: {name} with a mean magnitude of {mean:g}"
        )
    return images.astype(operator.float_dtype)


def check_denoiser(denoiser, operator, sigma):
    """Raises a `ValueError` if a denoiser does not take the operator's images."""
    if not callable(denoiser):
        raise ValueError(
            "`denoiser` must be a Keras model, a prior, or a function of images and "
            f"sigma. Received: denoiser of type {type(denoiser).__name__}"
        )
    is_layer = not is_function(denoiser)
    inputs = getattr(denoiser, "inputs", None)
    if inputs:
        channels, expected = operator.image_shape[-1], inputs[0].shape[-1]
        if channels != expected:
            raise ValueError(
                f"`denoiser` must take images of {channels} channels. "
                f"Received: a denoiser of {expected} channels"
            )
    if takes_level(denoiser) and sigma is None:
        raise ValueError(
            "`sigma` must be given: the denoiser takes a noise level. "
            "Received: sigma=None"
        )
    if is_layer and not takes_level(denoiser) and sigma is not None:
        raise ValueError(
            "`sigma` must be None: the denoiser takes no noise level. "
            f"Received: sigma={sigma}"
        )
    if is_layer and not denoiser.built:
        denoiser(ops.zeros((1, *operator.image_shape), denoiser.compute_dtype))


def check_range(value_range):
    """Returns `low` and `high` as floats."""
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            "`value_range` must be two finite numbers (low, high), low < high. "
            f"Received: value_range={value_range!r}"
        )
    return low, high


def check_steps(name, steps, batch):
    """Returns a step above 0 for each image, `[batch]`."""
    array = np.asarray(steps, "float64")
    if array.shape not in ((), (batch,)):
        raise ValueError(
            f"`{name}` must be one number, or one an image, [{batch}]. "
            f"Received: {name} of shape {array.shape}"
        )
    for step in array.ravel():
        check_number(name, float(step), TINY, allowed="above 0")
    return np.broadcast_to(array, (batch,))


def check_levels(sigma, batch, iterations):
    """Returns noise levels `[1 or iterations, 1 or batch]`, or `None`.

    Raises:
        ValueError: they are of another shape, below 0, or not finite.
    """
    if sigma is None:
        return None
    levels = np.asarray(sigma, "float64")
    rows = levels if levels.ndim == 2 else levels.reshape(1, -1)
    if (
        levels.ndim > 2
        or rows.shape[0] not in (1, iterations)
        or rows.shape[1] not in (1, batch)
    ):
        raise ValueError(
            f"`sigma` must be one number, one an image, [{batch}], or one an "
            f"iteration, [{iterations}, 1] or [{iterations}, {batch}]. "
            f"Received: sigma of shape {levels.shape}"
        )
    if not np.all((rows >= 0) & (rows < math.inf)):
        raise ValueError("`sigma` must be finite, from 0 up. Received: other values")
    return rows


def check_bound(bound):
    """Returns a Lipschitz bound of `D - I` as a float from 0 up, or `None`."""
    return None if bound is None else check_number("lipschitz_bound", bound, 0)


def is_function(denoiser):
    """Whether a denoiser runs outside of graphs."""
    return not isinstance(denoiser, keras.layers.Layer)


def is_prior(denoiser):
    """Whether a denoiser is the prox of a convex function."""
    return isinstance(denoiser, Prior)


def _check_finite(name, array):
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with {wrong} values that are "
            "NaN or infinite"
        )


def _magnitude(images):
    """The mean magnitude of the brightest image."""
    return np.mean(np.abs(images), axis=(1, 2, 3)).max()
