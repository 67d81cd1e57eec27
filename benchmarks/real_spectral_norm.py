"""What real spectral normalisation costs a training step, and how well norms are held.

`step` times an update of a chain of 3 x 3 convolutions on patches of 40 x 40 beside the
same without the norm; the steps take turns in one process, and ratios are of medians of
CPU time. `svd` compares norms with the dense matrix of the convolution, in float64.
`training` trains a denoiser and measures its layers on larger images. Ends with exit
code 1 if a bound is broken.

    python benchmarks/real_spectral_norm.py [--only=SECTION,...] [--quick]
"""

import os
import sys

import keras
import numpy as np
from timing import print_table, run_sections, times, verdicts

from zoo.data.natural_images import load_natural_images
from zoo.layers import RealSpectralNormConv2D
from zoo.layers.convolution_norm import convolution_norm
from zoo.models.denoisers import dncnn, train

SIDE = 40
# Depth, width and batch size of a network, and the most that its step may cost.
NETWORKS = {"7 x 32": (7, 32, 32, 1.06), "17 x 64": (17, 64, 16, 1.15)}
# Kernels and sizes of images.
KERNELS = [
    ((3, 3, 1, 8), (16, 16)),
    ((3, 3, 6, 5), (12, 14)),
    ((5, 5, 2, 3), (14, 13)),
    ((4, 4, 3, 3), (12, 12)),
]
SVD_BOUND, TRAINED_BOUND = 1e-5, 1.005


def step(quick):
    """An update with the norm beside one without."""
    load = os.getloadavg()[0]
    print(f"Load of the machine at the start: {load:.1f} on {os.cpu_count()} cores.\n")
    rows, good = [], True
    for name, (depth, width, batch, bound) in NETWORKS.items():
        steps = {norm: update(depth, width, batch, norm) for norm in (None, 1.0)}
        taken = times(steps, (), 3 if quick else 15)
        plain, ours = taken[None][0], taken[1.0][0]
        ratio = ours / plain
        checks = {f"<= {bound}": ratio <= bound}
        cells = [f"{plain:.0f}", f"{ours:.0f}", f"{ratio:.3f}"]
        rows.append([name, batch, *cells, verdicts(checks)])
        good &= all(checks.values())
    print_table(["network", "batch", "plain, ms", "ours, ms", "ratio", "bound"], rows)
    return good


def update(depth, width, batch, spectral_norm):
    """Returns a function that makes one update."""
    keras.utils.set_random_seed(0)
    network = dncnn(depth, width, normalization=None, spectral_norm=spectral_norm)
    network.compile(keras.optimizers.Adam(1e-4), "mse", jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    shape = (batch, SIDE, SIDE, 1)
    x = np.random.default_rng(0).random(shape, dtype="float32")
    return lambda: network.train_on_batch(x, x)


def svd(quick):
    """Norms beside the largest singular value.

    Power steps have no bound: where the next singular value is near, they take long.
    """
    steps = 100 if quick else 500
    rows, good = [], True
    for shape, size in KERNELS:
        keras.utils.set_random_seed(0)
        layer = RealSpectralNormConv2D(
            shape[3], shape[:2], image_size=size, mode="equal", dtype="float64"
        )
        layer.build((None, *size, shape[2]))
        x = np.zeros((1, 1, 1, shape[2]))
        errors = []
        for taken in (0, steps):
            for _ in range(taken):
                layer(x, training=True)
            kernel = keras.ops.convert_to_numpy(layer.normalized_kernel())
            errors.append(abs(dense_norm(kernel, size) - 1))
        exact = dense_norm(kernel, size)
        errors.append(abs(convolution_norm(kernel, size) / exact - 1))
        layer.settle()
        kernel = keras.ops.convert_to_numpy(layer.normalized_kernel())
        errors.append(abs(dense_norm(kernel, size) - 1))
        checks = {f"<= {SVD_BOUND:g}": max(errors[2:]) <= SVD_BOUND}
        rows.append([shape, size, *(f"{e:.1e}" for e in errors), verdicts(checks)])
        good &= all(checks.values())
    columns = ["new", f"{steps} steps", "measured_norm", "settled"]
    print_table(["kernel", "images", *columns, "bound"], rows)
    return good


def dense_norm(kernel, size):
    """Returns the largest singular value of the matrix whose columns are responses."""
    images = np.eye(size[0] * size[1] * kernel.shape[2])
    images = images.reshape(-1, *size, kernel.shape[2])
    responses = keras.ops.conv(images, kernel, padding="same")
    matrix = keras.ops.convert_to_numpy(responses).reshape(len(images), -1)
    return np.linalg.norm(matrix, 2)


def training(quick):
    """Norms of the layers of a denoiser after its training."""
    keras.utils.set_random_seed(0)
    network = dncnn(5, 16, normalization=None, spectral_norm=1.0)
    images = {"coins": load_natural_images("train")["coins"]}
    steps = 100 if quick else 600
    settings = {"steps": steps, "evaluate_every": steps, "patch_size": SIDE}
    train(network, images, 15 / 255, validation=images, **settings)
    layers = [one for one in network.layers if isinstance(one, RealSpectralNormConv2D)]
    before = [layer.measured_norm() for layer in layers]
    sizes = [(side, side) for side in (SIDE, 64, 256)]
    rows, good = [], True
    for layer, norm in zip(layers, before, strict=True):
        layer.settle()
        norms = [layer.measured_norm(image_size=size) for size in sizes]
        checks = {f"<= {TRAINED_BOUND}": max(norms) <= TRAINED_BOUND}
        cells = [f"{value:.5f}" for value in (norm, *norms)]
        rows.append([layer.name, *cells, verdicts(checks)])
        good &= all(checks.values())
    columns = ["before settle, 40 px", *(f"settled, {side} px" for side, _ in sizes)]
    print_table(["layer", *columns, "bound"], rows)
    return good


SECTIONS = {"step": step, "svd": svd, "training": training}

if __name__ == "__main__":
    sys.exit(run_sections(__doc__, SECTIONS))
