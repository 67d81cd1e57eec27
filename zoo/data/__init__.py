"""Data: everything that yields arrays or `tf.data` datasets."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.data.channels import ChannelProblem as ChannelProblem
    from zoo.data.channels import massive_mimo as massive_mimo
    from zoo.data.channels import random_access as random_access
    from zoo.data.corruption import corrupt_labels as corrupt_labels
    from zoo.data.deficits import Blur as Blur
    from zoo.data.deficits import Deficit as Deficit
    from zoo.data.deficits import DeficitWindow as DeficitWindow
    from zoo.data.deficits import LabelPermutation as LabelPermutation
    from zoo.data.deficits import VerticalFlip as VerticalFlip
    from zoo.data.deficits import WhiteNoise as WhiteNoise
    from zoo.data.deficits import without_class as without_class
    from zoo.data.formats import read_cifar_binary as read_cifar_binary
    from zoo.data.formats import read_cifar_python as read_cifar_python
    from zoo.data.formats import read_idx as read_idx
    from zoo.data.gaussians import GaussianMixture as GaussianMixture
    from zoo.data.gaussians import gaussian_grid as gaussian_grid
    from zoo.data.images import ImageSet as ImageSet
    from zoo.data.images import load_images as load_images
    from zoo.data.low_rank import covariance as covariance
    from zoo.data.low_rank import low_rank_matrix as low_rank_matrix
    from zoo.data.low_rank import measurement_noise as measurement_noise
    from zoo.data.masks import block_mask as block_mask
    from zoo.data.masks import cartesian_mask as cartesian_mask
    from zoo.data.masks import radial_mask as radial_mask
    from zoo.data.masks import random_mask as random_mask
    from zoo.data.masks import scattered_mask as scattered_mask
    from zoo.data.natural_images import PatchSampler as PatchSampler
    from zoo.data.natural_images import load_natural_images as load_natural_images
    from zoo.data.pipeline import augment_flip_crop as augment_flip_crop
    from zoo.data.pipeline import batches as batches
    from zoo.data.pipeline import check_finite as check_finite
    from zoo.data.pipeline import steps_per_epoch as steps_per_epoch
    from zoo.data.pooling import average_pool as average_pool
    from zoo.data.quantum import ghz_state as ghz_state
    from zoo.data.quantum import hadamard_state as hadamard_state
    from zoo.data.quantum import measure_shots as measure_shots
    from zoo.data.quantum import random_state as random_state
    from zoo.data.sparse import SparseBatches as SparseBatches
    from zoo.data.sparse import SparseProblem as SparseProblem
    from zoo.data.sparse import bernoulli_gaussian as bernoulli_gaussian
    from zoo.data.sparse import bernoulli_gaussian_fixture as bernoulli_gaussian_fixture

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
