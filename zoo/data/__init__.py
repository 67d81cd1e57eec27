"""Data: everything that yields arrays or `tf.data` datasets."""

import importlib

# Imported when asked for: half of them need TensorFlow, the others no more than NumPy.
_MODULES = {
    "channels": (
        "ChannelProblem",
        "massive_mimo",
        "random_access",
    ),
    "corruption": ("corrupt_labels",),
    "deficits": (
        "Blur",
        "Deficit",
        "DeficitWindow",
        "LabelPermutation",
        "VerticalFlip",
        "WhiteNoise",
        "without_class",
    ),
    "formats": (
        "read_cifar_binary",
        "read_cifar_python",
        "read_idx",
    ),
    "gaussians": (
        "GaussianMixture",
        "gaussian_grid",
    ),
    "images": (
        "ImageSet",
        "load_images",
    ),
    "low_rank": (
        "covariance",
        "low_rank_matrix",
        "measurement_noise",
    ),
    "masks": (
        "block_mask",
        "cartesian_mask",
        "radial_mask",
        "random_mask",
        "scattered_mask",
    ),
    "natural_images": ("PatchSampler", "load_natural_images"),
    "pipeline": (
        "augment_flip_crop",
        "batches",
        "check_finite",
        "steps_per_epoch",
    ),
    "pooling": ("average_pool",),
    "quantum": (
        "ghz_state",
        "hadamard_state",
        "measure_shots",
        "random_state",
    ),
    "sparse": (
        "SparseBatches",
        "SparseProblem",
        "bernoulli_gaussian",
        "bernoulli_gaussian_fixture",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_PLACES)


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
