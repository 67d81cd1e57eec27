"""Strange arguments of public names: they work, or one line says what is wrong.

Every public class and function of `PACKAGES` has a case, valid arguments of it, and one
of them after the other is replaced by each of `STRANGE`. What Keras takes itself, such
as `name` and `dtype`, stays Keras's own.
"""

import contextlib
import importlib
import inspect
import io
import re
import resource
import signal

import hypothesis
import keras
import keras_tuner
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from hypothesis import strategies as st

import zoo.study.flags
from zoo import layers, losses, models, optimizers
from zoo.apps import STUDIES
from zoo.layers import operators, sensing
from zoo.models import denoisers, gancs, ldamp, projector, unrolled
from zoo.study import app

PACKAGES = (
    *(layers, operators, sensing, losses, optimizers),
    *(models, denoisers, gancs, ldamp, projector, unrolled),
)
SECONDS, GIGABYTES = 20, 4
# Of all arguments, and of the flags of each study; a wide search takes thousands.
EXAMPLES, FLAG_EXAMPLES = 500, 60
STRANGE = {
    "None": None,
    "True": True,
    "text": "x",
    "nan": float("nan"),
    "inf": float("inf"),
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "1e30": 1e30,
    "2**40": 2**40,
    "list": [],
    "dict": {},
    "object": object(),
    "complex": 1 + 2j,
    "array": np.ones((2, 3, 1, 2)),
    "nans": np.full(3, np.nan),
    "texts": ["x"],
    "counts": [2**40],
}
KERAS = {
    *("dtype", "reduction", "initializer"),
    *("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
# Of functions of tensors: what the backend cannot convert, it says itself.
TENSORS = {"activations", "cosines", "data", "factor", "r", "x"}


def network():
    layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3, name="one")]
    layers += [keras.layers.BatchNormalization(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(3, name="two")])


def plain():
    dense = [keras.layers.Dense(3, "relu", name="one"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((2,)), *dense])


def image_network():
    convolution = keras.layers.Conv2D(1, 3, padding="same")
    return keras.Sequential([keras.Input((4, 4, 1)), convolution])


GENERATOR = np.random.default_rng(0)
MATRIX = GENERATOR.normal(size=(3, 6))
IMAGE = (4, 4, 1)
IMAGES = GENERATOR.uniform(size=(2, *IMAGE))
CLASSIFIER = {"input_shape": (8, 8, 1), "num_classes": 3, "virtual_batch_size": 4}


def operator():
    return operators.GaussianMatrix(IMAGE, 8)


def sensor():
    return sensing.GaussianSensing((4, 4), 6, symmetric=True)


def classifier(**kwargs):
    return lambda: {"input_shape": (8, 8, 1), "num_classes": 3, **kwargs}


def tuned():
    hp = keras_tuner.HyperParameters()
    return {"hp": hp, "input_shape": (4,), "num_classes": 3}


def small(builder, **kwargs):
    return lambda: {"widths": (2, 2), "blocks": (1, 1), **kwargs}


# Makers of valid arguments, by what takes them; `None` where there is nothing to try.
CASES = {
    layers.CosineDense: lambda: {"units": 4},
    layers.DataConsistency: lambda: {"operator": operators.Identity(IMAGE)},
    layers.GhostBatchNorm: dict,
    layers.LampBlock: lambda: {"matrix": MATRIX},
    layers.LdampBlock: lambda: {
        "operator": operator(),
        "denoiser": keras.layers.PReLU(),
    },
    layers.LipschitzReport: None,
    layers.ListaBlock: lambda: {"matrix": MATRIX},
    layers.LowRankMatrix: lambda: {"shape": (4, 4), "rank": 2},
    layers.LvampBlock: lambda: {"matrix": MATRIX},
    layers.PartialCosineDense: lambda: {"units": 4, "loss": losses.ArcFace()},
    layers.RealSpectralNormConv2D: lambda: {"filters": 2, "kernel_size": 3},
    layers.fold_normalization: lambda: {"model": network()},
    layers.lipschitz_report: lambda: {"model": image_network(), "image_size": (4, 4)},
    layers.reestimate_batch_norm: lambda: {"model": network(), "data": [IMAGES]},
    layers.soft_threshold: None,
    layers.to_ghost_batch_norm: lambda: {"model": network()},
    operators.Blur: lambda: {"image_shape": IMAGE, "kernel": np.ones((3, 3))},
    operators.Compose: lambda: {
        "outer": operators.Identity(IMAGE),
        "inner": operators.Identity(IMAGE),
    },
    operators.Downsample: lambda: {"image_shape": IMAGE, "factor": 2},
    operators.FourierMask: lambda: {"image_shape": IMAGE, "mask": np.ones((4, 4))},
    operators.GaussianMatrix: lambda: {"image_shape": IMAGE, "num_measurements": 8},
    operators.Identity: lambda: {"image_shape": IMAGE},
    operators.LinearOperator: lambda: {"image_shape": IMAGE, "measurement_shape": (3,)},
    operators.PixelMask: lambda: {"image_shape": IMAGE, "mask": np.ones((4, 4))},
    operators.Stack: lambda: {"operators": [operators.Identity(IMAGE)]},
    operators.StructuredRandom: lambda: {"image_shape": IMAGE, "num_measurements": 8},
    sensing.DenseSensing: lambda: {"matrices": np.ones((5, 4, 4))},
    sensing.EntrySensing: lambda: {
        "rows": np.arange(4),
        "columns": np.arange(4),
        "shape": (4, 4),
    },
    sensing.GaussianSensing: lambda: {"shape": (4, 4), "num_measurements": 6},
    sensing.HadamardSensing: lambda: {"size": 4, "num_measurements": 6},
    sensing.PauliSensing: lambda: {"strings": ["XY", "ZI"]},
    sensing.RankOneSensing: lambda: {"a": GENERATOR.normal(size=(5, 4))},
    sensing.SensingOperator: lambda: {"shape": (4, 4), "num_measurements": 6},
    sensing.SignSensing: lambda: {"shape": (4, 4), "num_measurements": 6},
    sensing.SparseSensing: lambda: {
        "shape": (4, 4),
        "num_measurements": 6,
        "density": 0.5,
    },
    sensing.to_complex: lambda: {"factor": np.ones((4, 2))},
    sensing.to_stacked: lambda: {"factor": np.ones((4, 2), "complex64")},
    losses.MarginWarmup: lambda: {"loss": losses.ArcFace(), "steps": 10},
    losses.angular_margin: None,
    losses.exp_t: lambda: {"x": np.zeros(3), "t": 0.5},
    losses.log_t: lambda: {"x": np.ones(3), "t": 0.5},
    losses.tempered_softmax: lambda: {"activations": np.zeros((2, 3)), "t": 1.5},
    optimizers.Extragradient: None,
    optimizers.SimultaneousGradient: None,
    optimizers.LinearWarmup: lambda: {"learning_rate": 0.1, "warmup_steps": 3},
    optimizers.FactoredGradientDescent: lambda: {"left_rows": 3},
    models.LargeMarginModel: lambda: {"model": plain()},
    models.MatrixSensing: lambda: {
        "operator": sensor(),
        "matrix": layers.LowRankMatrix((4, 4), 2),
    },
    models.UnrolledNetwork: lambda: {"blocks": [layers.LampBlock(MATRIX)]},
    models.alexnet: classifier(filters=(2, 2), units=(3, 3)),
    models.all_cnn: classifier(filters=(2,) * 8),
    models.convnet: classifier(filters=(2,), units=(3,)),
    models.keskar: lambda: {"network": "C1", "input_shape": (8, 8, 1)},
    models.lamp: lambda: {"matrix": MATRIX, "depth": 2},
    models.lista: lambda: {"matrix": MATRIX, "depth": 2},
    models.lvamp: lambda: {"matrix": MATRIX, "depth": 2},
    models.mlp: classifier(units=(3,)),
    models.normalization_layer: dict,
    models.pretrained: lambda: {"name": "lamp"},
    models.rescale: lambda: {"model": plain(), "alpha": 2.0},
    models.resnet: classifier(depth=20),
    models.tunable_classifier: tuned,
    models.tunable_network: tuned,
    denoisers.dncnn: lambda: {"depth": 3, "width": 2},
    denoisers.simple_cnn: dict,
    denoisers.unet: lambda: {"widths": (2, 2), "blocks": (1, 1)},
    denoisers.denoise: lambda: {"network": image_network(), "images": IMAGES},
    denoisers.evaluate: lambda: {
        "network": image_network(),
        "images": IMAGES,
        "sigma": 0.1,
    },
    denoisers.pretrained: lambda: {"name": "simple_cnn"},
    denoisers.train: None,
    gancs.discriminator: lambda: {"widths": (2, 2)},
    gancs.generator: lambda: {
        "operator": operators.Identity(IMAGE),
        "width": 2,
        "copies": 1,
    },
    gancs.evaluate: None,
    gancs.pretrained: dict,
    gancs.train: None,
    ldamp.LdampNetwork: lambda: {
        "blocks": [layers.LdampBlock(operator(), keras.layers.PReLU())]
    },
    ldamp.ldamp: lambda: {
        "operator": operator(),
        "denoisers": keras.layers.PReLU(),
        "depth": 2,
    },
    ldamp.pretrained: lambda: {"operator": operator()},
    ldamp.train: None,
    projector.ProjectorLoss: dict,
    projector.image_discriminator: lambda: {"width": 2, "blocks": (1,)},
    projector.latent_discriminator: lambda: {"latent_shape": (4, 4, 2), "blocks": 1},
    projector.perturb: lambda: {
        "images": GENERATOR.uniform(size=(2, 8, 8, 1)),
        "rng": np.random.default_rng(0),
    },
    projector.projector: lambda: {"widths": (2, 2, 2)},
    projector.train: None,
    unrolled.pretrained: lambda: {"name": "lamp"},
    unrolled.Stage: lambda: {"steps": 10},
    unrolled.layerwise: lambda: {"depth": 2},
    unrolled.train: None,
}


def public(package):
    values = [getattr(package, name) for name in package.__all__]
    return [value for value in values if callable(value)]


EVERY = list(dict.fromkeys(value for package in PACKAGES for value in public(package)))
# A name without a case is one of defaults alone.
MAKERS = {value: CASES.get(value, dict) for value in EVERY}
MAKERS = {value: make for value, make in MAKERS.items() if make is not None}


def arguments(value):
    """Returns the names of a callable's arguments that are the zoo's own."""
    parameters = inspect.signature(value).parameters.values()
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    own = [one for one in parameters if one.kind not in variable]
    # What has to be given as `name` is no layer's.
    own = [one for one in own if one.name != "name" or one.default is one.empty]
    return [one.name for one in own if one.name not in KERAS | TENSORS]


PAIRS = [(value, name) for value in MAKERS for name in arguments(value)]


class TooSlow(BaseException):
    """What is raised in a call that takes too long."""


def stop(*_):
    raise TooSlow


@pytest.fixture(scope="module")
def limited():
    """Limits the memory and each call's time; what hangs or allocates fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTES * 2**30, hard))
    handler = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(value, name, strange):
    """Returns what a call with a strange argument comes to: an exception, or `None`."""
    kwargs = {**MAKERS[value](), name: strange}
    signal.alarm(SECONDS)
    try:
        value(**kwargs)
    except (Exception, TooSlow) as error:
        return error
    finally:
        signal.alarm(0)
    return None


def is_clear(error, name):
    """Whether an exception names the argument in its first line."""
    lines = str(error).splitlines() or [""]
    named = re.search(rf"`{name}\b[^`]*`|\b{name}=", lines[0])
    return isinstance(error, (TypeError, ValueError)) and bool(named)


def test_every_public_name_has_a_case():
    for value, make in MAKERS.items():
        required = {
            one.name
            for one in inspect.signature(value).parameters.values()
            if one.default is one.empty
            and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        }
        assert required <= set(make()), value


def allowed(value, name, key):
    """Whether an argument may be what is strange elsewhere.

    NaN is no number of anything, infinity none here, and bools and text are no numbers.
    """
    default = inspect.signature(value).parameters[name].default
    if key == "True":
        return isinstance(default, bool)
    return key in ("None", "-1", "0", "0.5", "1e30", "2**40", "list", "array", "counts")


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(st.sampled_from(PAIRS), st.sampled_from(sorted(STRANGE)))
def test_a_strange_argument_works_or_is_named(limited, pair, key):
    value, name = pair
    error = outcome(value, name, STRANGE[key])
    if error is None:
        assert allowed(value, name, key), f"{value.__name__} takes {name}={key}"
    else:
        assert is_clear(error, name), f"{value.__name__}, {name}={key}: {error!r}"


APPS = {name: importlib.import_module(f"zoo.apps.{name}") for name in STUDIES}
TEXTS = ("x", "", "nan", "inf", "-1", "0", "1e30", str(2**40), "None", "1,1", "1,x")
# What no flag may be, whatever it is of.
WRONG = ("x", "nan", "inf", "None", "1,x")
# Any text is the name of a folder to be, and Python reads a bool.
FREE = {"dry_run", "logdir", "resume", "fresh"}


@contextlib.contextmanager
def defined_flags(experiments):
    """Defines the flags of experiments for a while; gives their names."""
    others = set(flags.FLAGS)
    zoo.study.flags.define_flags(*experiments)
    own = set(flags.FLAGS) - others
    try:
        yield sorted(own - FREE)
    finally:
        for name in own:
            delattr(flags.FLAGS, name)


def reader(experiments, flag):
    """Returns the flag that chooses the first experiment that reads another."""
    for study in experiments:
        if study.experiment and flag in study.presets["quick"]:
            return [f"--experiment={study.experiment}"]
    return []


def dry_run(experiments, logdir, arguments):
    """Returns the exit code of an app that is given flags, and what it complains of."""
    errors = io.StringIO()
    arguments = [experiments[0].name, f"--logdir={logdir}", "--dry_run", *arguments]
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            with flagsaver.flagsaver():
                app.parse(arguments)
                code = app.run_studies(*experiments)
        except SystemExit as error:
            code = error.code
    return code, errors.getvalue().splitlines()


@pytest.mark.parametrize("name", APPS)
def test_a_strange_flag_works_or_is_named(limited, name, tmp_path):
    experiments = APPS[name].EXPERIMENTS
    with defined_flags(experiments) as names:
        check_flags(name, experiments, names, tmp_path / "runs")


def check_flags(name, experiments, names, logdir):
    """Tries strange texts for the flags of an app."""

    @hypothesis.settings(max_examples=FLAG_EXAMPLES)
    @hypothesis.given(st.sampled_from(names), st.sampled_from(TEXTS))
    def check(flag, text):
        chosen = [] if flag == "experiment" else reader(experiments, flag)
        given = f"--{flag}={text}"
        code, lines = dry_run(experiments, logdir, [*chosen, given])
        assert (code == 0 and not lines and text not in WRONG) or (
            code == 1 and len(lines) == 1 and f"--{flag}" in lines[0]
        ), f"{name} {given}: {code}, {lines}"
        assert not logdir.exists()

    check()
