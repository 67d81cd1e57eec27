"""What every layer must do: one row a layer (or a way to set it up), one test a duty.

A new layer adds a row to `ROWS`; a test fails until it does.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import zoo
import zoo.layers
from zoo._backend.gradients import vjp
from zoo.layers.operators import Downsample, GaussianMatrix
from zoo.losses import ArcFace

ROOT = pathlib.Path(zoo.__file__).parents[1]


@dataclasses.dataclass
class Row:
    """A layer, and inputs that it takes: `shape` begins with the batch size."""

    layer: type
    kwargs: dict
    shape: tuple
    mask: bool = False

    def __str__(self):
        arguments = ",".join(
            f"{name}={label(value)}" for name, value in self.kwargs.items()
        )
        return f"{self.layer.__name__}({arguments})-{len(self.shape)}D"

    def build(self, **kwargs):
        keras.utils.set_random_seed(0)
        own = {
            # Layers within layers have weights, and so each layer gets its own.
            name: value() if isinstance(value, type) else value
            for name, value in self.kwargs.items()
        }
        return self.layer(**own, **kwargs)

    def inputs(self):
        generator = np.random.default_rng(0)
        return generator.normal(1.0, 2.0, self.shape).astype("float32")

    def model(self, **kwargs):
        inputs = keras.Input(self.shape[1:])
        return keras.Model(inputs, self.build(**kwargs)(inputs))


def label(value):
    """A short name for an argument, which may be a class, an object or an array."""
    for name in ("__name__", "name", "shape"):
        if hasattr(value, name):
            return getattr(value, name)
    return value


SQUARE = {"shape": (6, 6), "rank": 3, "initializer": "orthogonal"}
MATRIX = {"matrix": np.random.default_rng(0).normal(0.0, 0.3, (8, 32))}
# Its mean slope is smooth, and does not jump where numbers are rounded.
SPLINE = zoo.layers.SplineShrinkage
ROWS = [
    Row(zoo.layers.GhostBatchNorm, {"virtual_batch_size": 4}, (10, 3)),
    Row(zoo.layers.GhostBatchNorm, {"virtual_batch_size": None}, (10, 3)),
    Row(zoo.layers.GhostBatchNorm, {"virtual_batch_size": 4}, (10, 5, 3), mask=True),
    Row(zoo.layers.GhostBatchNorm, {"virtual_batch_size": 4}, (10, 4, 4, 3)),
    Row(zoo.layers.GhostBatchNorm, {"update": "mean", "axis": 1}, (10, 3, 4)),
    Row(zoo.layers.CosineDense, {"units": 4}, (10, 3)),
    Row(zoo.layers.CosineDense, {"units": 4, "sub_centers": 2}, (10, 5, 3)),
    Row(zoo.layers.CosineDense, {"units": 4, "polar": True}, (10, 3)),
    Row(zoo.layers.LowRankMatrix, {**SQUARE, "kind": "psd"}, (10, 6)),
    Row(zoo.layers.LowRankMatrix, {**SQUARE, "kind": "hermitian"}, (10, 12)),
    Row(zoo.layers.LowRankMatrix, {**SQUARE, "kind": "indefinite"}, (10, 5, 6)),
    Row(
        zoo.layers.LowRankMatrix,
        {**SQUARE, "shape": (4, 6), "kind": "general"},
        (10, 5, 6),
    ),
    Row(
        zoo.layers.DataConsistency,
        {"operator": Downsample((6, 4, 2), 2), "mode": "soft"},
        (10, 3, 2, 2),
    ),
    Row(zoo.layers.PartialCosineDense, {"units": 4, "loss": ArcFace()}, (10, 3)),
    Row(zoo.layers.SoftShrinkage, {}, (10, 5, 3)),
    Row(zoo.layers.ExponentialShrinkage, {}, (10, 3)),
    Row(zoo.layers.SplineShrinkage, {}, (10, 3)),
    Row(zoo.layers.PiecewiseLinearShrinkage, {}, (10, 3)),
    Row(zoo.layers.GridShrinkage, {"coordinatewise": True}, (10, 3)),
    Row(zoo.layers.BernoulliGaussianShrinkage, {}, (10, 3)),
    Row(
        zoo.layers.RealSpectralNormConv2D,
        {"filters": 4, "kernel_size": 3, "image_size": (6, 5)},
        (10, 6, 5, 3),
    ),
    Row(
        zoo.layers.RealSpectralNormConv2D,
        {
            "filters": 2,
            "kernel_size": (2, 3),
            "image_size": (4, 4),
            "mode": "equal",
            "norm": 0.5,
            "activation": "tanh",
        },
        (10, 6, 5, 3),
    ),
    Row(zoo.layers.ListaBlock, {**MATRIX, "coupling": "coupled"}, (10, 5, 8)),
    Row(zoo.layers.LampBlock, MATRIX, (10, 8)),
    Row(
        zoo.layers.LdampBlock,
        {"operator": GaussianMatrix((4, 4, 1), 8), "denoiser": keras.layers.PReLU},
        (10, 8),
    ),
    Row(zoo.layers.LvampBlock, {**MATRIX, "shrinkage": SPLINE}, (10, 8)),
    Row(
        zoo.layers.LvampBlock,
        {**MATRIX, "shrinkage": SPLINE, "form": "dense"},
        (10, 5, 8),
    ),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=str)
masked_rows = pytest.mark.parametrize("row", [row for row in ROWS if row.mask], ids=str)


def public_layers():
    things = [getattr(zoo.layers, name) for name in zoo.layers.__all__]
    return {
        thing
        for thing in things
        if isinstance(thing, type) and issubclass(thing, keras.Layer)
    }


def test_every_public_layer_has_a_row():
    assert public_layers() == {row.layer for row in ROWS}


def arrays(outputs):
    return [
        ops.convert_to_numpy(ops.cast(t, "float32"))
        for t in keras.tree.flatten(outputs)
    ]


def assert_equal(one, other):
    for ours, theirs in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def train_once(model, row, **kwargs):
    targets = [np.zeros(output.shape) for output in arrays(model(row.inputs()))]
    model.compile("sgd", "mse", **kwargs)
    model.fit(row.inputs(), targets, batch_size=row.shape[0], verbose=0)
    return model.get_weights()


@every_row
def test_config_makes_an_equal_layer_before_and_after_build(row):
    layer = row.build()
    config = layer.get_config()
    layer(row.inputs())
    assert layer.get_config() == config
    revived = row.layer.from_config(config)
    assert revived.get_config() == config
    assert set(vars(revived)) == set(vars(row.build()))


@every_row
def test_registered_under_zoo(row):
    name = keras.saving.get_registered_name(row.layer)
    assert name == f"zoo>{row.layer.__name__}"


@every_row
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_symbolic_output_tells_the_truth(row, dtype):
    layer = row.build(dtype=dtype)
    symbolic = layer(keras.KerasTensor(row.shape, dtype=layer.compute_dtype))
    for training in (False, True):
        real = layer(ops.cast(row.inputs(), layer.compute_dtype), training=training)
        for ours, theirs in zip(
            keras.tree.flatten(symbolic), keras.tree.flatten(real), strict=True
        ):
            assert ours.shape == theirs.shape
            assert ours.dtype == keras.backend.standardize_dtype(theirs.dtype)
    shapes = layer.compute_output_shape(row.shape)
    assert keras.tree.flatten(shapes) == keras.tree.flatten(
        keras.tree.map_structure(lambda tensor: tensor.shape, symbolic)
    )


@every_row
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_weights_in_float32_and_its_output_close(row, dtype):
    layer, exact = row.build(dtype=dtype), row.build()
    outputs = [one(row.inputs(), training=True) for one in (layer, exact)]
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    for ours, theirs in zip(*map(arrays, outputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.05)


@every_row
def test_any_batch_size_in_inference(row):
    model = row.model()
    whole = arrays(model.predict(row.inputs(), verbose=0))
    for rows in (1, 3):
        part = arrays(model.predict(row.inputs()[:rows], verbose=0))
        for ours, theirs in zip(part, whole, strict=True):
            np.testing.assert_allclose(ours, theirs[:rows], rtol=1e-5, atol=1e-6)


@pytest.mark.traced
@every_row
def test_trains_with_and_without_xla_alike(row):
    plain = train_once(row.model(), row, jit_compile=False)
    compiled = train_once(row.model(), row, jit_compile=True)
    for ours, theirs in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@every_row
def test_gradients_reach_inputs_and_all_weights(row):
    layer = row.build()
    x = keras.Variable(row.inputs())
    layer(x.value)

    def loss():
        # The sum is a tensor, where TensorFlow's value is a variable.
        outputs = keras.tree.flatten(layer(x.value + 0.0, training=True))
        return [sum(ops.sum(ops.sin(output)) for output in outputs)], None

    variables = [x, *layer.trainable_weights]
    _, _, pullback = vjp(loss, variables)
    for gradient in map(ops.convert_to_numpy, pullback({0: 1.0}, variables)):
        assert np.isfinite(gradient).all()
        assert np.any(gradient)


@masked_rows
def test_masks_pass_and_what_they_hide_does_not_count(row):
    layer = row.build()
    assert layer.supports_masking
    mask = np.random.default_rng(1).random(row.shape[:2]) < 0.7
    garbage = np.where(mask[..., None], row.inputs(), 1e3)
    outputs = [
        np.asarray(row.build()(x, mask=mask, training=True))[mask]
        for x in (row.inputs(), garbage)
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.compute_mask(row.inputs(), mask), mask)


RELOAD = """
import pathlib, sys
import keras, numpy
import zoo.layers, zoo.losses

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    model = keras.models.load_model(path)
    x = numpy.load(path.with_suffix(".npy"))
    outputs = map(keras.ops.convert_to_numpy, keras.tree.flatten(model(x)))
    numpy.savez(path.with_suffix(".npz"), *outputs)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Every row's trained model and its outputs, reloaded in one fresh process."""
    folder = tmp_path_factory.mktemp("saved")
    outputs = {}
    for index, row in enumerate(ROWS):
        model = row.model()
        train_once(model, row)
        model.save(folder / f"{index}.keras")
        np.save(folder / f"{index}.npy", row.inputs())
        outputs[str(row)] = arrays(model(row.inputs()))
    subprocess.run(
        [sys.executable, "-c", RELOAD, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return folder, outputs


@every_row
def test_reloads_here_and_in_a_fresh_process(row, saved):
    folder, outputs = saved
    index = ROWS.index(row)
    expected = outputs[str(row)]
    assert_equal(
        keras.models.load_model(folder / f"{index}.keras")(row.inputs()), expected
    )
    with np.load(folder / f"{index}.npz") as fresh:
        assert_equal([fresh[name] for name in fresh.files], expected)
