"""The shapes of losses against the margin, drawn by the losses themselves."""

import math

import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy
from zoo.losses import (
    BiTemperedLogistic,
    ComplementaryCrossEntropy,
    MulticlassHinge,
    ProperMargin,
    TemperatureSoftmax,
    WeightedMargin,
    angular_margin,
    exp_t,
    log_t,
)
from zoo.study import Section, new_figure
from zoo.study.tuning import refuse_search

GAMMA = 0.5
LIMIT, POINTS = 3.0, 601
# Finite differences of a float64 loss, and a slope that only a jump has.
STEP, STEEP = 1e-3, 100


def two_classes(loss):
    """The loss of a two-class problem as a function of the margin `f_y - f_other`."""

    def phi(v):
        scores = np.stack([v, np.zeros_like(v)], axis=-1)
        return loss(np.zeros(len(v), "int32"), scores)

    return phi


def one_score(loss):
    """The loss of one score for a bit, as a function of the score of a right bit."""
    return lambda v: loss(np.ones(len(v), "int32"), v)


def _two(loss, *args, **kwargs):
    return two_classes(loss(*args, reduction=None, dtype="float64", **kwargs))


def _one(*args, **kwargs):
    return one_score(ProperMargin(*args, reduction=None, dtype="float64", **kwargs))


LOSSES = {
    "zero_one": lambda v: np.where(v > 0, 0.0, 1.0),
    "hinge": _two(MulticlassHinge),
    "logistic": _one(),
    "exponential": _one("boosting", "exponential"),
    "softmax": _two(TemperatureSoftmax, 1.0),
    "temperature": _two(TemperatureSoftmax, GAMMA),
    "wide_logistic": _one(sigma=1 / GAMMA),
    "complementary": _two(ComplementaryCrossEntropy),
    "bi_tempered": _two(BiTemperedLogistic, 0.5, 2.0),
    "weighted_margin": _two(WeightedMargin),
}
TEMPERATURES = (0.25, 0.5, 0.75, 1.0), (1.0, 1.5, 2.0, 3.0)
ANGULAR = {
    "softmax": (1.0, 0.0, 0.0),
    "m1 = 1.35 (SphereFace)": (1.35, 0.0, 0.0),
    "m1 = 2": (2.0, 0.0, 0.0),
    "m1 = 4": (4.0, 0.0, 0.0),
    "m2 = 0.5 (ArcFace)": (1.0, 0.5, 0.0),
    "m3 = 0.35 (CosFace)": (1.0, 0.0, 0.35),
    "1, 0.3, 0.2 (combined)": (1.0, 0.3, 0.2),
}


class Shapes(MarginStudy):
    """Draws each loss against the margin and measures its loss margin."""

    experiment = "losses"
    title = "Margins: the shapes of losses"
    objective = ("at_zero", "min")
    presets = {name: {"loss": list(LOSSES)} for name in ("quick", "cpu", "paper")}

    def prepare(self, config):
        super().prepare(config)
        self.check_losses(config, LOSSES)

    def grid(self, hp, config):
        hp.Choice("loss", config.loss)

    def space(self, hp, config):
        refuse_search(config, "it draws losses and trains nothing")

    def seconds(self, values, config):
        return 0.3

    def run(self, hp, config, logdir):
        phi = LOSSES[hp.get("loss")]
        low, zero, high = (float(y) for y in phi(np.array([-STEP, 0.0, STEP])))
        slope = (high - low) / (2 * STEP)
        curvature = (high - 2 * zero + low) / STEP**2
        v = np.linspace(-LIMIT, LIMIT, POINTS)
        outcome = {"at_zero": zero, "slope": slope, "v_curve": v}
        outcome["phi_curve"] = np.asarray(phi(v), "float64")
        if smooth(low, zero, high):
            outcome["loss_margin"] = -slope / curvature
        return outcome

    def sections(self, results, config):
        curves = {
            row.loss: results.curves(row.run) for row in results.select().itertuples()
        }
        return [
            self._table(results, config),
            _curves(
                curves,
                "Figure 9: losses against the margin",
                "figure9",
                ("zero_one", "hinge", "logistic", "exponential"),
            ),
            self._loss_margin(results, curves),
            _curves(
                curves,
                "Figure 11: the weighted margin",
                "figure11",
                ("zero_one", "hinge", "weighted_margin"),
            ),
            _curves(
                curves,
                "Robust losses",
                "robust",
                ("logistic", "complementary", "bi_tempered"),
            ),
            *_tempered(),
            _angles(),
        ]

    def _table(self, results, config):
        rows = []
        for row in results.select().itertuples():
            mu = getattr(row, "loss_margin", math.nan)
            rows.append(
                {
                    "loss": row.loss,
                    "at v = 0": f"{row.at_zero:.4f}",
                    "slope": f"{row.slope:.4f}" if abs(row.slope) < STEEP else "jump",
                    "loss margin": f"{mu:.3f}" if math.isfinite(mu) else "not smooth",
                }
            )
        text = (
            "Each loss as a function of the margin `v = f_y - max f_other`, from the "
            "loss class itself in float64; the loss margin is `-phi'(0) / phi''(0)` by "
            "central differences."
        )
        return Section("Losses", text, pd.DataFrame(rows))

    def _loss_margin(self, results, curves):
        shown = [one for one in ("softmax", "temperature") if one in curves]
        figure, ax = new_figure("Figure 10: the loss margin", "margin v", "loss (nats)")
        for name in shown:
            row = results.select(loss=name).iloc[0]
            curve, mu = curves[name], row["loss_margin"]
            (line,) = ax.plot(
                curve["v_curve"], curve["phi_curve"], label=f"{name}, μ = {mu:.2f}"
            )
            # Newton's step for the slope's root, taken at 0, is the loss margin.
            ax.axvline(mu, color=line.get_color(), linestyle=":")
        ax.set_xlim(-LIMIT, LIMIT + 1.5)
        ax.legend()
        text = (
            f"Dividing the logits by {1 / GAMMA:g} doubles the loss margin, the dotted "
            "line."
        )
        return Section("Figure 10: the loss margin", text, None, figure, "figure10")


def smooth(low, zero, high):
    """Whether three neighbouring values show no jump, no kink, and some curvature."""
    bend = abs(high - 2 * zero + low)
    return 1e-9 < bend < 0.1 * STEP


def _curves(curves, title, name, losses):
    figure, ax = new_figure(title, "margin v", "loss")
    for loss in losses:
        if loss in curves:
            curve = curves[loss]
            ax.plot(curve["v_curve"], curve["phi_curve"], label=loss)
    ax.set_ylim(-0.1, 4.5)
    ax.legend()
    return Section(title, figure=figure, name=name)


def _tempered():
    x = np.linspace(0.01, 3, 300)
    figure, ax = new_figure("Figure 12: tempered logarithm", "x", "log_t(x)")
    for t in TEMPERATURES[0]:
        ax.plot(x, np.asarray(log_t(x, t)), label=f"t = {t:g}")
    ax.set_ylim(-5, 2)
    ax.legend()
    yield Section("Figure 12: tempered logarithm", None, None, figure, "figure12_log")
    x = np.linspace(-5, 0, 300)
    figure, ax = new_figure("Figure 12: tempered exponential", "x", "exp_t(x)")
    for t in TEMPERATURES[1]:
        ax.plot(x, np.asarray(exp_t(x, t)), label=f"t = {t:g}")
    ax.legend()
    yield Section("Figure 12: tempered exponential", None, None, figure, "figure12_exp")


def _angles():
    degrees = np.linspace(0, 180, 361)
    cosines = np.cos(np.radians(degrees))
    figure, ax = new_figure(
        "Figure 14: the target's logit under a margin",
        "angle to the class's weights, °",
        "logit / scale",
    )
    for name, (m1, m2, m3) in ANGULAR.items():
        ax.plot(degrees, np.asarray(angular_margin(cosines, m1, m2)) - m3, label=name)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    text = (
        "A sample must come nearer to its class for the logit that it would have "
        "without a margin. All curves fall over the whole range, and have no jump."
    )
    title = "Figure 14: the target's logit under a margin"
    return Section(title, text, None, figure, "figure14")
