"""Data: everything that yields arrays or `tf.data` datasets."""

from zoo.data.channels import ChannelProblem, massive_mimo, random_access
from zoo.data.corruption import corrupt_labels
from zoo.data.formats import read_cifar_binary, read_cifar_python, read_idx
from zoo.data.gaussians import GaussianMixture, gaussian_grid
from zoo.data.images import ImageSet, load_images
from zoo.data.low_rank import covariance, low_rank_matrix, measurement_noise
from zoo.data.pipeline import (
    augment_flip_crop,
    batches,
    check_finite,
    steps_per_epoch,
)
from zoo.data.pooling import average_pool
from zoo.data.quantum import (
    ghz_state,
    hadamard_state,
    measure_shots,
    random_state,
)
from zoo.data.sparse import (
    SparseBatches,
    SparseProblem,
    bernoulli_gaussian,
    bernoulli_gaussian_fixture,
)

__all__ = [
    "ChannelProblem",
    "GaussianMixture",
    "ImageSet",
    "SparseBatches",
    "SparseProblem",
    "augment_flip_crop",
    "average_pool",
    "batches",
    "bernoulli_gaussian",
    "bernoulli_gaussian_fixture",
    "check_finite",
    "corrupt_labels",
    "covariance",
    "gaussian_grid",
    "ghz_state",
    "hadamard_state",
    "load_images",
    "low_rank_matrix",
    "massive_mimo",
    "measure_shots",
    "measurement_noise",
    "random_access",
    "random_state",
    "read_cifar_binary",
    "read_cifar_python",
    "read_idx",
    "steps_per_epoch",
]
