"""Recovering images with denoisers in the place of priors, with certificates.

Images are `[batch, height, width, channels]` with intensities of about [0, 1], and so
are noise levels.
"""

from zoo.solvers.plug_and_play.certificate import (
    Certificate,
    contraction_factor,
    step_interval,
)
from zoo.solvers.plug_and_play.certify import certify
from zoo.solvers.plug_and_play.counts import PhotonCounting, Poisson
from zoo.solvers.plug_and_play.fidelities import LeastSquares
from zoo.solvers.plug_and_play.priors import L1, Prior, TotalVariation
from zoo.solvers.plug_and_play.result import PlugAndPlayResult
from zoo.solvers.plug_and_play.solvers import pnp_admm, pnp_drs, pnp_fbs, pnp_pdhg
from zoo.solvers.plug_and_play.wavelet import Wavelet

__all__ = [
    "L1",
    "Certificate",
    "LeastSquares",
    "PhotonCounting",
    "PlugAndPlayResult",
    "Poisson",
    "Prior",
    "TotalVariation",
    "Wavelet",
    "certify",
    "contraction_factor",
    "pnp_admm",
    "pnp_drs",
    "pnp_fbs",
    "pnp_pdhg",
    "step_interval",
]
