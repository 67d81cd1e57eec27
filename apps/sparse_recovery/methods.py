"""The methods of the study: solvers, and networks with how they are trained."""

import dataclasses
import warnings

import numpy as np

from zoo.layers.shrinkage import (
    BernoulliGaussianShrinkage,
    PiecewiseLinearShrinkage,
    SoftShrinkage,
)
from zoo.models.unrolled import Stage, lamp, layerwise, lista, lvamp, train
from zoo.solvers.sparse import amp, fista, vamp
from zoo.study import EpochLogs

# First values of the Bernoulli-Gaussian shrinkage and of the noise, all of them wrong.
SPARSITY, SIGNAL_VARIANCE, NOISE_VARIANCE = 0.05, 2.0, 1e-3
# The first thresholds that LISTA chooses from, as a `regularization`.
REGULARIZATIONS = (0.1, 0.3, 1.0, 3.0)
# Updates of a second stage that pay for its graph.
SHORTEST = 50


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to recover signals.

    Attributes:
        family: `"fista"`, `"amp"` or `"vamp"`; or a network, `"lista"`, `"lamp"` or
            `"lvamp"`.
        shrinkage: `"l1"`, `"bg"` or `"pwlin"`.
        variant: `""`; of LISTA `"analytic"` or `"low_rank"`; of LAMP `"untied"`.
    """

    family: str
    shrinkage: str = "l1"
    variant: str = ""

    @property
    def learned(self):
        return self.family in ("lista", "lamp", "lvamp")

    @property
    def style(self):
        """How figures draw it: a colour a family, a line a shrinkage."""
        colors = {"fista": "C7", "amp": "C1", "vamp": "C0"}
        colors |= {"lista": "C2", "lamp": "C1", "lvamp": "C0"}
        marker = {"": "o", "analytic": "^", "low_rank": "v", "untied": "s"}
        return {
            "color": colors[self.family],
            "linestyle": {"l1": "--", "bg": "-", "pwlin": ":"}[self.shrinkage],
            "marker": marker[self.variant] if self.learned else None,
            "markersize": 4,
            "linewidth": 1.6 if self.learned else 0.9,
        }


METHODS = {
    "fista": Method("fista"),
    "amp_l1": Method("amp"),
    "amp_bg": Method("amp", "bg"),
    "vamp_l1": Method("vamp"),
    "vamp_bg": Method("vamp", "bg"),
    "lista": Method("lista"),
    "lista_low_rank": Method("lista", variant="low_rank"),
    "alista": Method("lista", variant="analytic"),
    "lamp_l1": Method("lamp"),
    "lamp_bg": Method("lamp", "bg"),
    "lamp_bg_untied": Method("lamp", "bg", "untied"),
    "lamp_pwlin": Method("lamp", "pwlin"),
    "lvamp_l1": Method("lvamp"),
    "lvamp_bg": Method("lvamp", "bg"),
    "lvamp_pwlin": Method("lvamp", "pwlin"),
}


def solve(method, task, iterations, regularization=None, dtype="float64", **options):
    """Solves all signals of a task by a method that learns nothing.

    AMP and VAMP with `"bg"` are told the true sparsity, and VAMP the true noise.
    """
    problem, y = task.problem, task.y.astype(dtype)
    options = {"iterations": iterations, "tolerance": 0.0, **options}
    with warnings.catch_warnings():
        # Where a method diverges the report says so.
        warnings.simplefilter("ignore", UserWarning)
        if method.family == "fista":
            return fista(problem.matrix, y, regularization, **options)
        shrinkage = SoftShrinkage(dtype=dtype)
        if method.shrinkage == "bg":
            shrinkage = BernoulliGaussianShrinkage(
                problem.sparsity, problem.signal_variance, dtype=dtype
            )
        if method.family == "amp":
            return amp(problem.matrix, y, shrinkage, **options)
        noise = problem.noise_variance
        return vamp(problem.matrix, y, shrinkage, noise, **options)


def lasso_weights(task):
    """The `lambda` of each signal at which AMP-l1 ends, or VAMP-l1 where AMP fails."""
    result = solve(METHODS["amp_l1"], task, 100)
    failed = (result.stop_reason == "diverged") | (result.regularization <= 0)
    if failed.any():
        result = solve(METHODS["vamp_l1"], task, 100)
    return result.regularization


def learn(
    method,
    task,
    depth,
    config,
    seed,
    logdir,
    tied=None,
    first=None,
    rate_factor=1.0,
):
    """Builds a network of a method, and trains it on signals of the task's problem.

    Args:
        method: a `Method` that is learned.
        task: a `Task`; its signals are not trained on, nor choose weights.
        depth: int, layers.
        config: the settings.
        seed: int, of the signals.
        logdir: str, folder for TensorBoard.
        tied: `zoo.models.UnrolledNetwork`, for an untied one to start from.
        first: dict of first values, as for `make_shrinkage`.
        rate_factor: float, of the learning rates.

    Returns:
        The `zoo.models.UnrolledNetwork`.
    """
    network = tied.untie() if tied else build(method, task, depth, first)
    train(
        network,
        task.problem,
        stages(method, depth, config, rate_factor),
        callbacks=[EpochLogs(logdir)],
        evaluate_every=max(25, round(50 * config.steps)),
        seed=seed,
    )
    return network


def build(method, task, depth, first=None):
    """Builds a network with nothing trained."""
    matrix = task.problem.matrix
    if method.family == "lista":
        return _best_lista(method, task, depth)
    first = first or {}
    shrinkage = make_shrinkage(method.shrinkage, **first.get("shrinkage", {}))
    if method.family == "lamp":
        return lamp(matrix, depth, shrinkage)
    return lvamp(matrix, depth, shrinkage, first.get("noise", NOISE_VARIANCE))


def make_shrinkage(
    name,
    sparsity=SPARSITY,
    signal_variance=SIGNAL_VARIANCE,
    coordinatewise=False,
):
    """Makes a shrinkage with its first values."""
    if name == "bg":
        return BernoulliGaussianShrinkage(sparsity, signal_variance, coordinatewise)
    kind = {"l1": SoftShrinkage, "pwlin": PiecewiseLinearShrinkage}[name]
    return kind(coordinatewise=coordinatewise)


def stages(method, depth, config, rate_factor=1.0):
    """The training of a network: for how many updates, and how fast."""

    def stage(steps, rate, **settings):
        steps = max(5, round(steps * config.steps))
        return Stage(
            steps,
            learning_rate=rate_factor * rate,
            batch_size=config.batch_size,
            **settings,
        )

    if config.schedule == "layerwise":
        return layerwise(
            depth,
            max(1, round(250 * config.steps)),
            max(1, round(1000 * config.steps)),
            learning_rate=rate_factor * 1e-3,
            batch_size=config.batch_size,
        )
    if method.family == "lvamp":
        return [stage(150, 0.3 if method.shrinkage == "bg" else 0.1)]
    if method.variant == "analytic":
        return [stage(400, 3e-2)]
    if method.variant == "untied":
        return [stage(300, 4e-3, supervise="last")]
    joint, last = stage(800, 1e-2), stage(200, 4e-3, supervise="last")
    return [joint, last] if last.steps >= SHORTEST else [joint]


def training_seconds(method, depth, unknowns, config):
    """Estimates what a training takes on two cores, its graphs and its updates."""
    work = config.steps * config.batch_size / 250 * (unknowns / 500) ** 2
    graphs, updates = {"lvamp": (12, 15), "lamp": (10, 90), "lista": (6, 60)}[
        method.family
    ]
    share = {"analytic": 0.4, "untied": 0.4}.get(method.variant, 1.0)
    return depth / 8 * (graphs + share * updates * work)


def multiplications(method, shape):
    """Multiplications with matrices, of real numbers, a signal and layer."""
    m, n = shape
    if method.variant == "low_rank":
        return 2 * low_rank(n) * n + m * n
    if method.family == "lista" and not method.variant:
        return n * n + m * n
    return 2 * m * n + (m * m if method.family == "lvamp" else 0)


def low_rank(n):
    """The rank of `S` in `lista_low_rank`."""
    return n // 4


def _best_lista(method, task, depth):
    """LISTA with the first threshold at which its layers do best on fresh signals."""
    matrix = task.problem.matrix
    y, x = task.problem.sample(200, seed=0)
    options = {"start": 1.5 * np.linalg.pinv(matrix)}
    if method.variant == "analytic":
        options = {"coupling": "analytic", "select_support": True}
    elif method.variant == "low_rank":
        options["rank"] = low_rank(matrix.shape[1])
    networks = [lista(matrix, depth, one, **options) for one in REGULARIZATIONS]

    def error(network):
        errors = np.square(network.predict_all(y) - x).sum(axis=(1, 2))
        # A step of one that diverges may overflow.
        return np.nan_to_num(np.mean(np.log(errors)), nan=np.inf)

    return min(networks, key=error)
