"""Large batches and the generalisation gap.

Report: "Batch Size and Generalization Gap", after Hoffer, Hubara and Soudry, 2017,
"Train longer, generalize better" (arXiv:1705.08741).

Claim: at equal epochs a network trained with large batches generalises worse; ghost
batch normalisation (GBN) closes part of the gap, as many updates as small batches make
(LE) close most of it, and both together (GBN+LE) do better than small batches.

Published (Table 5, ResNet-50, validation %): CIFAR-10 92.78 / 90.32 / 91.48 / 92.72 /
94.13 and CIFAR-100 69.89 / 65.26 / 68.03 / 69.42 / 71.04 for SB / LB / GBN / LE /
GBN+LE.

    python -m zoo.apps.large_batch                  # quick: digits
    python -m zoo.apps.large_batch --preset=cpu --data_dir=/usr/share/datasets
    python -m zoo.apps.large_batch --preset=paper   # ResNet-50 on CIFAR: a GPU
"""

from zoo.apps.large_batch.study import LargeBatch

__all__ = ["LargeBatch"]
