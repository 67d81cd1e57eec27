"""Margins: the losses that widen them, and what they say of generalisation.

Report: "Role of Margin in Neural Networks Generalization".

Claim: losses that widen the margins of a classifier make it more robust and its
classes easier to tell apart; and the margins of the training set, at the input and at
all hidden layers, predict how much worse a network is on new samples.

Six experiments, all of them or those of `--experiment`:

    losses         Figures 9 to 12 and 14: each loss against the margin
    angular        Figures 13 and 14: embeddings under angular margins
    noise          accuracy under 0 to 80 % of wrong labels, loss by loss
    distributions  Figure 7: margins by layer under three levels of corruption
    gap            Figure 8: actual against predicted generalisation gap
    capacity       Figures 1 to 3: error against width, and fitting random labels

    python -m zoo.apps.margins                        # quick: digits
    python -m zoo.apps.margins --experiment=noise,gap
    python -m zoo.apps.margins --preset=cpu --data_dir=/usr/share/datasets
    python -m zoo.apps.margins --preset=paper         # MNIST and CIFAR-10: a GPU
"""

from zoo.apps.margins.angular import Angular
from zoo.apps.margins.capacity import Capacity
from zoo.apps.margins.distributions import Distributions
from zoo.apps.margins.gap import Gap
from zoo.apps.margins.noise import Noise
from zoo.apps.margins.shapes import Shapes

EXPERIMENTS = (Shapes, Angular, Noise, Distributions, Gap, Capacity)

__all__ = [
    "EXPERIMENTS",
    "Angular",
    "Capacity",
    "Distributions",
    "Gap",
    "Noise",
    "Shapes",
]
