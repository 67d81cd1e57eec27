"""Losses for Keras: one value per sample, computed in float32."""

from zoo.losses.angular import AngularMargin, angular_margin
from zoo.losses.angular_family import ArcFace, CosFace, LSoftmax, SphereFace
from zoo.losses.bi_tempered import BiTemperedLogistic, exp_t, log_t, tempered_softmax
from zoo.losses.hinge import MulticlassHinge
from zoo.losses.large_margin import LargeMargin
from zoo.losses.margin_warmup import MarginWarmup
from zoo.losses.pairs import Contrastive, Triplet
from zoo.losses.proper_margin import ProperMargin
from zoo.losses.softmax import ComplementaryCrossEntropy, TemperatureSoftmax
from zoo.losses.weighted_margin import WeightedMargin

__all__ = [
    "AngularMargin",
    "ArcFace",
    "BiTemperedLogistic",
    "ComplementaryCrossEntropy",
    "Contrastive",
    "CosFace",
    "LSoftmax",
    "LargeMargin",
    "MarginWarmup",
    "MulticlassHinge",
    "ProperMargin",
    "SphereFace",
    "TemperatureSoftmax",
    "Triplet",
    "WeightedMargin",
    "angular_margin",
    "exp_t",
    "log_t",
    "tempered_softmax",
]
