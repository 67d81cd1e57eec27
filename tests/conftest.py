"""What tests of several folders share."""

import hypothesis
import keras
import pytest
import tensorflow as tf
from absl import flags

import zoo.study.flags

# What fails, fails for everyone; `--hypothesis-profile=new` draws other examples.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("new", deadline=None)
hypothesis.settings.load_profile("same")


if keras.backend.backend() == "torch":
    import torch

    to_array = torch.Tensor.__array__
    # To NumPy its tensors look as those of the others do, which the tests are written
    # for: arrays, whether gradients are kept for them or not.
    torch.Tensor.__array__ = lambda t, *args, **kwargs: to_array(
        t.detach(), *args, **kwargs
    )
    torch.Tensor.__array_priority__ = 0
    del torch.Tensor.__array_wrap__


MARKERS = {
    "tensorflow": "a duty that other backends do not know",
    "traced": "a duty of code that is traced, which PyTorch does not ask for",
}


def pytest_configure(config):
    for marker, what in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {what}")


def pytest_runtest_setup(item):
    # Weights that a test does not seed are the same in each run.
    keras.utils.set_random_seed(0)
    backend = keras.backend.backend()
    marker = item.get_closest_marker("tensorflow")
    if marker and backend != "tensorflow":
        pytest.skip(f"TensorFlow only: {marker.args[0]}")
    if item.get_closest_marker("traced") and backend == "torch":
        pytest.skip("PyTorch traces nothing")


@pytest.fixture(scope="module")
def define_flags():
    """Defines the flags of studies until the module's tests have ended."""
    others = set(flags.FLAGS)
    yield zoo.study.flags.define_flags
    for name in set(flags.FLAGS) - others:
        delattr(flags.FLAGS, name)


def compile_function(function, variables=(), jit=False, input_signature=None):
    """Compiles a function of tensors as the backend does.

    Args:
        function: returns a structure of tensors.
        variables: the Keras variables that `function` changes, which JAX must know.
        jit: whether by XLA: on JAX, always; on PyTorch, never.
        input_signature: of `tf.function`. JAX compiles for each shape.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.function(function, input_signature, jit_compile=jit)
    if keras.backend.backend() == "torch":
        return function
    import jax

    @jax.jit
    def run(values, *inputs):
        scope = keras.StatelessScope(list(zip(variables, values, strict=True)))
        with scope:
            outputs = function(*inputs)
        return outputs, [scope.get_current_value(variable) for variable in variables]

    def call(*inputs):
        outputs, values = run([variable.value for variable in variables], *inputs)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return outputs

    return call


@pytest.fixture(scope="session")
def compiled():
    """`compile_function`, for the backend that the tests run on."""
    return compile_function
