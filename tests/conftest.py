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


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "tensorflow(reason): a duty that other backends do not know"
    )


def pytest_runtest_setup(item):
    marker = item.get_closest_marker("tensorflow")
    if marker and keras.backend.backend() != "tensorflow":
        pytest.skip(f"TensorFlow only: {marker.args[0]}")


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
        jit: whether by XLA: on JAX, always.
        input_signature: of `tf.function`. JAX compiles for each shape.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.function(function, input_signature, jit_compile=jit)
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
