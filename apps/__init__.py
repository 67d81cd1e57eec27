"""The studies, one app each: `python -m zoo.apps.NAME`, or `zoo NAME`."""

import os

# TensorFlow's start-up notes are no part of a study's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

STUDIES = {
    "critical_periods": "Critical learning periods, and the plasticity of networks.",
    "deep_unrolling": "Message passing with denoisers, and generators of images.",
    "games": "Optimisation in games: optimistic, mirror and symplectic methods; GANs.",
    "large_batch": "Large batches and the generalisation gap.",
    "margins": "Margins: the losses that widen them, and what they predict.",
    "matrix_sensing": "Matrices of low rank and quantum states, from few measurements.",
    "plug_and_play": "Denoisers in the place of priors, with certificates.",
    "sparse_recovery": "Sparse signals: iterations, and networks made of them.",
}
