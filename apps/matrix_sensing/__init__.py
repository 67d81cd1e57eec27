"""Matrix sensing: which methods find a matrix of low rank, and from what.

Report: "A Review of Matrix Sensing".

Claims: descent on a factor U of U U^T recovers such a matrix and momentum hastens it;
on U V^T it could not be tuned; factors of too high a rank are slow, and diverge where
there is noise; rank-one measurements serve as well as others, sparse ones more slowly;
methods that decompose the matrix in each step are infeasible for large ones.

Six experiments, all of them or those of `--experiment`:

    methods       Figure 2, all methods on one problem; what U V^T needs
    noise         Figures 1 and 4, noise, too high a rank, and both
    measurements  Figure 3, kinds of measurements and their sparse versions
    covariance    Figure 5, a sketch of a covariance, beside least squares
    tomography    quantum states from Pauli strings, exact or of finite shots
    scaling       CPU seconds up to matrices of 4,096 x 4,096

    python -m zoo.apps.matrix_sensing                  # quick: all figures in small
    python -m zoo.apps.matrix_sensing --experiment=methods,noise
    python -m zoo.apps.matrix_sensing --preset=cpu     # half an hour in all
    python -m zoo.apps.matrix_sensing --preset=paper   # the report's data: covtype
"""

from zoo.apps.matrix_sensing.covariance import Covariance
from zoo.apps.matrix_sensing.measurements import Measurements
from zoo.apps.matrix_sensing.methods import Methods
from zoo.apps.matrix_sensing.noise import Noise
from zoo.apps.matrix_sensing.scaling import Scaling
from zoo.apps.matrix_sensing.tomography import Tomography

EXPERIMENTS = (Methods, Noise, Measurements, Covariance, Tomography, Scaling)

__all__ = [
    "EXPERIMENTS",
    "Covariance",
    "Measurements",
    "Methods",
    "Noise",
    "Scaling",
    "Tomography",
]
