"""What the studies measure."""

from zoo.metrics.distance import DistanceFromInitialization
from zoo.metrics.embeddings import (
    angular_spread,
    recall_at_1,
    verification_accuracy,
)
from zoo.metrics.equilibrium import duality_gap, nash_conv, utilities
from zoo.metrics.evaluation import (
    EvaluateAtUpdates,
    loss_and_accuracy,
    predict_logits,
)
from zoo.metrics.fisher import FisherTrace, FisherTraceCallback, fisher_trace
from zoo.metrics.gap import GapPredictor, adjusted_r2, k_fold_r2
from zoo.metrics.hessian import (
    HessianEigenvalues,
    SpectralDensity,
    hessian_trace,
    spectral_density,
    top_eigenvalues,
)
from zoo.metrics.image_quality import psnr, snr
from zoo.metrics.interpolation import interpolate
from zoo.metrics.landscape import plane, random_directions
from zoo.metrics.loss_surface import LossSurface
from zoo.metrics.low_rank import (
    effective_rank,
    fidelity,
    measurement_residual,
    procrustes_distance,
    relative_error,
    trace_distance,
)
from zoo.metrics.margins import (
    MarginDistribution,
    layer_margins,
    score_margin,
    signature,
    signature_names,
)
from zoo.metrics.modes import mode_coverage
from zoo.metrics.recovery import nmse
from zoo.metrics.sharpness import Sharpness, adaptive_sharpness, epsilon_sharpness

__all__ = [
    "DistanceFromInitialization",
    "EvaluateAtUpdates",
    "FisherTrace",
    "FisherTraceCallback",
    "GapPredictor",
    "HessianEigenvalues",
    "LossSurface",
    "MarginDistribution",
    "Sharpness",
    "SpectralDensity",
    "adaptive_sharpness",
    "adjusted_r2",
    "angular_spread",
    "duality_gap",
    "effective_rank",
    "epsilon_sharpness",
    "fidelity",
    "fisher_trace",
    "hessian_trace",
    "interpolate",
    "k_fold_r2",
    "layer_margins",
    "loss_and_accuracy",
    "measurement_residual",
    "mode_coverage",
    "nash_conv",
    "nmse",
    "plane",
    "predict_logits",
    "procrustes_distance",
    "psnr",
    "random_directions",
    "recall_at_1",
    "relative_error",
    "score_margin",
    "signature",
    "signature_names",
    "snr",
    "spectral_density",
    "top_eigenvalues",
    "trace_distance",
    "utilities",
    "verification_accuracy",
]
