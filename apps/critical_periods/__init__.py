"""Critical learning periods, and the plasticity of networks.

Report: "Evaluating Critical Periods in Deep Neural Networks", after Achille, Rovere and
Soatto, 2019, "Critical Learning Periods in Deep Networks" (arXiv:1711.08856).

Claims: a network that sees blurred images in its first epochs ends worse, however long
it is trained on clean ones then; not so a fully connected one. A class that comes late
costs accuracy in the same way, and the two go together.

Published: blur for 140 epochs costs a CNN and a ResNet 3 to 6 points on CIFAR-10, an
AlexNet 7, a fully connected network nothing on MNIST and less than nothing on CIFAR-10;
a class withheld for 100 epochs costs the AlexNet 7 to 9.

Five experiments, all of them or those of `--experiment`:

    blur        Figures 1 to 5: accuracy against the epochs n with blurred images
    plasticity  Figure 6, right: a class withheld for n epochs
    compare     Figure 6: both, of one network, and their correlation
    window      a deficit of fixed length, early or late
    fisher      the trace of the Fisher information along training

    python -m zoo.apps.critical_periods                # quick: digits
    python -m zoo.apps.critical_periods --experiment=blur --preset=cpu \
        --data_dir=/usr/share/datasets                 # Fashion-MNIST, over an hour
    python -m zoo.apps.critical_periods --deficit=flip,labels --experiment=blur
    python -m zoo.apps.critical_periods --preset=paper # the report's: a GPU
"""

from zoo.apps.critical_periods.deficits import BlurDeficit, Compare, Plasticity
from zoo.apps.critical_periods.fisher import Fisher
from zoo.apps.critical_periods.window import Window

EXPERIMENTS = (BlurDeficit, Plasticity, Compare, Window, Fisher)

__all__ = ["EXPERIMENTS", "BlurDeficit", "Compare", "Fisher", "Plasticity", "Window"]
