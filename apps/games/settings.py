"""How the two networks are trained: the report's settings, and those that work."""

import dataclasses
from typing import Any

import keras

from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    OptimisticAdam,
    OptimisticRMSprop,
    OptimisticSGD,
    SymplecticGradientAdjustment,
)

ADJUSTMENTS = {
    "none": lambda: None,
    "sga": SymplecticGradientAdjustment,
    "extragradient": Extragradient,
    "consensus": lambda: ConsensusOptimization(0.1),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to train the networks.

    Attributes:
        optimizer: `"gd"`, `"rmsprop"` or `"adam"`.
        rate: learning rate of both players.
        memory: momentum of `gd`, beta_1 of `adam`.
        decay: rho of `rmsprop`, beta_2 of `adam`.
        optimism: of the optimistic versions; 0 is Keras's optimizer.
        adjustment: one of `ADJUSTMENTS`.
        order: of `GameTrainer`.
        loss: of `GANLoss`.
        r1: weight of the penalty `R1`, 0 for none.
        latent_dim: numbers of noise.
        fading: whether rates fall in a line to 0 at the end.
    """

    optimizer: str
    rate: float
    memory: float = 0.0
    decay: float = 0.0
    optimism: float = 0.0
    adjustment: str = "none"
    order: str = "alternating"
    loss: str = "non_saturating"
    r1: float = 0.0
    latent_dim: int = 64
    fading: bool = False

    def make_optimizer(self, iterations, **kwargs):
        """Makes a player's optimizer for a training of so many updates."""
        rate = self.rate
        if self.fading:
            # Extragradient counts its step ahead too.
            counted = iterations * (2 if self.adjustment == "extragradient" else 1)
            rate = keras.optimizers.schedules.PolynomialDecay(rate, counted, 0.0)
        if self.optimizer == "gd":
            kwargs.update(momentum=self.memory)
            classes = keras.optimizers.SGD, OptimisticSGD
        elif self.optimizer == "rmsprop":
            kwargs.update(rho=self.decay)
            classes = keras.optimizers.RMSprop, OptimisticRMSprop
        else:
            kwargs.update(beta_1=self.memory, beta_2=self.decay)
            classes = keras.optimizers.Adam, OptimisticAdam
        if not self.optimism:
            return classes[0](rate, **kwargs)
        return classes[1](rate, optimism=self.optimism, **kwargs)

    def make_adjustment(self):
        return ADJUSTMENTS[self.adjustment]()


# The report says nothing of its networks, loss, noise or order; it names these rates.
# RMSprop's memory is the framework's default there as here.
GD = Setting("gd", 1e-3)
ADAM = Setting("adam", 2e-4, memory=0.5, decay=0.999)
RMSPROP = Setting("rmsprop", 2e-4, decay=0.9)
REPORT = {
    "gd_0.001": GD,
    "gd_0.002": dataclasses.replace(GD, rate=2e-3),
    "rmsprop": RMSPROP,
    "adam": ADAM,
    "optimistic_gd_0.001": dataclasses.replace(GD, optimism=1.0),
    "optimistic_gd_0.002": dataclasses.replace(GD, rate=2e-3, optimism=1.0),
    "optimistic_rmsprop": dataclasses.replace(RMSPROP, optimism=1.0),
    "optimistic_adam": dataclasses.replace(ADAM, optimism=1.0),
}
# Those that the report lets run on, "gradient descent and the optimistic algorithms".
LONG = tuple(name for name in REPORT if name.startswith(("gd", "optimistic")))

# Found by search on other seeds; rates fade over the training.
FADING: dict[str, Any] = {"latent_dim": 4, "fading": True}
TUNED = {
    "gd": Setting("gd", 0.2, memory=0.5, r1=0.1, **FADING),
    "rmsprop": Setting("rmsprop", 4e-3, decay=0.99, r1=0.02, **FADING),
    "adam": Setting("adam", 4e-3, memory=0.5, decay=0.99, r1=0.03, **FADING),
    "optimistic_gd": Setting("gd", 0.3, memory=0.5, optimism=0.5, r1=0.1, **FADING),
    "optimistic_rmsprop": Setting(
        "rmsprop", 4e-3, decay=0.99, optimism=0.5, r1=0.01, **FADING
    ),
    "optimistic_adam": Setting(
        "adam", 4e-3, memory=0.5, decay=0.99, optimism=1.0, r1=0.03, **FADING
    ),
    "extra_adam": Setting(
        "adam",
        3e-3,
        memory=0.5,
        decay=0.9,
        adjustment="extragradient",
        order="simultaneous",
        r1=0.05,
        **FADING,
    ),
    "sga": Setting(
        "adam",
        3e-3,
        decay=0.9,
        adjustment="sga",
        order="simultaneous",
        r1=0.02,
        **FADING,
    ),
}
# Gradient descent needs more updates than the others.
SLOW = ("gd", "optimistic_gd")

# One thing at a time: away from what works, and towards it from the report's setting.
CHANGED = "optimistic_adam"
AWAY = {
    "tuned-loss": {"loss": "saturating"},
    "tuned-order": {"order": "simultaneous"},
    "tuned-rate": {"rate": 2e-4, "fading": False},
    "tuned-R1": {"r1": 0.0},
    "tuned-noise": {"latent_dim": 64},
}
TOWARDS = {
    "report+loss": {"loss": "saturating"},
    "report+order": {"order": "simultaneous"},
    "report+rate": {"rate": 4e-3, "fading": True},
    "report+R1": {"r1": 0.03},
    "report+noise": {"latent_dim": 4},
}


def cases(kind, methods):
    """Lists the cases of a `--setting`: pairs of a name and a method's `Setting`."""
    if kind == "changes":
        away = [
            (name, dataclasses.replace(TUNED[CHANGED], **change))
            for name, change in AWAY.items()
        ]
        return away + [
            (name, dataclasses.replace(REPORT[CHANGED], **change))
            for name, change in TOWARDS.items()
        ]
    known = {"report": REPORT, "tuned": TUNED}[kind]
    return [(f"{kind} {name}", known[name]) for name in methods if name in known]
