"""Large batches and the generalisation gap.

Report: "Batch Size and Generalization Gap", after Hoffer, Hubara and Soudry, 2017,
"Train longer, generalize better" (arXiv:1705.08741), Keskar et al., 2017, "On
Large-Batch Training for Deep Learning" (arXiv:1609.04836), and Dinh et al., 2017,
"Sharp Minima Can Generalize For Deep Nets" (arXiv:1703.04933).

Claims: at equal epochs a network trained with large batches generalises worse; ghost
batch normalisation (GBN) closes part of the gap, as many updates as small batches make
(LE) close most of it, and both together (GBN+LE) do better than small batches. Large
batches end in sharper minima; but what is sharp depends on how a network is written.

Published (Table 5, ResNet-50, validation %): CIFAR-10 92.78 / 90.32 / 91.48 / 92.72 /
94.13 and CIFAR-100 69.89 / 65.26 / 68.03 / 69.42 / 71.04 for SB / LB / GBN / LE /
GBN+LE.

Five experiments, all of them or those of `--experiment`:

    regimes        Table 5, Figures 4 to 9: what closes the gap
    sharpness      Tables 1 to 4: accuracy and sharpness of both minima
    interpolation  Figure 1: the loss between them, and around each
    alpha          Figures 2 and 3: one function, as sharp as one likes
    hessian        eigenvalues of the Hessian at both, at equal training loss

    python -m zoo.apps.large_batch                  # quick: digits
    python -m zoo.apps.large_batch --experiment=sharpness,hessian
    python -m zoo.apps.large_batch --preset=cpu --data_dir=/usr/share/datasets
    python -m zoo.apps.large_batch --preset=paper   # the source's networks: a GPU
"""

from zoo.apps.large_batch.alpha import Alpha
from zoo.apps.large_batch.hessian import Hessian
from zoo.apps.large_batch.interpolation import Interpolation
from zoo.apps.large_batch.regimes import Regimes
from zoo.apps.large_batch.sharpness import Sharpness

EXPERIMENTS = (Regimes, Sharpness, Interpolation, Alpha, Hessian)

__all__ = [
    "EXPERIMENTS",
    "Alpha",
    "Hessian",
    "Interpolation",
    "Regimes",
    "Sharpness",
]
