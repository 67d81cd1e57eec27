"""Sparse recovery: iterations, and the networks that one makes of them.

Report: "Proximal + Learning Methods for Image Inverse Problems", sections 1 and 2.

Claims: a few layers of learned ISTA do what takes FISTA many iterations; approximate
message passing (AMP) takes a tenth of FISTA's iterations, and vector AMP (VAMP) half of
those; learned AMP (LAMP) reaches with 7 layers what LISTA reaches with 15; where the
matrix is ill conditioned AMP and LAMP fail and VAMP and learned VAMP (LVAMP) do not.

Three experiments, all of them or those of `--experiment`:

    layers    Figure 2, the error after each layer or iteration of 13 methods, for
              independent entries and for condition numbers
    cost      multiplications and CPU time a layer, and to one error, beside
              scikit-learn's Lasso; iterations of FISTA a layer of LISTA; Figure 1
    channels  Figure 2, compressive random access and massive MIMO

    python -m zoo.apps.sparse_recovery                 # quick: all figures in small
    python -m zoo.apps.sparse_recovery --experiment=layers --condition=none
    python -m zoo.apps.sparse_recovery --preset=cpu    # 250 x 500, under an hour
    python -m zoo.apps.sparse_recovery --preset=paper  # the paper's steps, for a GPU
"""

from zoo.apps.sparse_recovery.channels import Channels
from zoo.apps.sparse_recovery.cost import Cost
from zoo.apps.sparse_recovery.layers import Layers

EXPERIMENTS = (Layers, Cost, Channels)

__all__ = ["EXPERIMENTS", "Channels", "Cost", "Layers"]
