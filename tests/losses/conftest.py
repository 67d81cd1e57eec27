"""What the tests of losses share: a loss with its gradient, in every way it can run."""

import functools
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo

ROOT = pathlib.Path(zoo.__file__).parents[1]
# Answers pickles with pickles, so that one JAX process serves all tests.
WORKER = """
import functools, importlib, pickle, sys, traceback
inlet, outlet, sys.stdout = sys.stdin.buffer, sys.stdout.buffer, sys.stderr
import jax, keras, numpy

@functools.cache
def compiled(module, config):
    importlib.import_module(module)
    loss = keras.losses.deserialize(pickle.loads(config))

    def total(scores, labels):
        values = loss(labels, scores)
        return values.sum(), values

    return jax.jit(jax.value_and_grad(total, has_aux=True))

def work(module, config, labels, scores):
    (_, values), slopes = compiled(module, config)(scores, labels)
    return numpy.asarray(values), numpy.asarray(slopes)

assert keras.backend.backend() == "jax"
while True:
    try:
        task = pickle.load(inlet)
    except EOFError:
        break
    try:
        answer = work(*task)
    except Exception:
        answer = traceback.format_exc()
    pickle.dump(answer, outlet)
    outlet.flush()
"""


@pytest.fixture(scope="session")
def jax_worker():
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:

        def work(*task):
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            assert not isinstance(answer, str), answer
            return answer

        yield work


@functools.cache
def tensorflow_step(mode, config):
    loss = keras.losses.deserialize(pickle.loads(config))

    def step(labels, scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            values = loss(labels, scores)
            total = tf.reduce_sum(values)
        return values, tape.gradient(total, scores)

    return step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")


@pytest.fixture(params=["eager", "graph", "xla", "jax"])
def differentiate(request):
    """`function(loss, labels, scores)` to its values and the gradient of their sum.

    Scores are float32, or of the dtype that the loss computes in.
    """
    if request.param == "jax":
        worker = request.getfixturevalue("jax_worker")

    def compute(loss, labels, scores):
        labels, scores = np.asarray(labels), np.asarray(scores, loss.dtype)
        config = pickle.dumps(keras.losses.serialize(loss))
        if request.param == "jax":
            return worker(type(loss).__module__, config, labels, scores)
        step = tensorflow_step(request.param, config)
        outputs = step(tf.constant(labels), tf.constant(scores))
        return tuple(np.asarray(output) for output in outputs)

    return compute


@pytest.fixture
def slopes():
    """`function(f, x)` to the central differences of the sum of `f` at `x`, float64."""

    def compute(function, x, step=1e-6):
        x = np.array(x, "float64")
        result = np.empty_like(x)
        for index in np.ndindex(x.shape):
            there, back = x.copy(), x.copy()
            there[index] += step
            back[index] -= step
            rise = np.sum(function(there)) - np.sum(function(back))
            result[index] = rise / (there[index] - back[index])
        return result

    return compute
