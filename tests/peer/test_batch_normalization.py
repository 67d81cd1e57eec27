"""Keras's own tests of BatchNormalization hold for GhostBatchNorm with one ghost.

Keras ships its tests in its wheel. They run here as they are, with the layer swapped;
`EXCEPTIONS` names those that cannot hold.
"""

import types
from unittest import mock

import keras
import pytest

from zoo.layers import GhostBatchNorm

if not keras.__version__.startswith("3.15."):
    pytest.skip(
        f"inherits internal tests of Keras 3.15, this is {keras.__version__}",
        allow_module_level=True,
    )
core = pytest.importorskip(
    "keras.src.layers.normalization.batch_normalization_test",
    reason="this Keras does not ship its tests",
    exc_type=ImportError,
)
# Keras warns of what its own tests do: a generator, a model without weights.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXCEPTIONS = {
    f"test_correctness{number}": (
        "with axis=1 these mask a whole channel, and ask that its output differ from "
        "inference: Keras takes mean and variance 0, we take the running statistics"
    )
    for number in range(8, 16)
}


@keras.saving.register_keras_serializable(package="zoo_peer")
class OneGhost(GhostBatchNorm):
    def __init__(self, virtual_batch_size=None, **kwargs):
        super().__init__(virtual_batch_size, **kwargs)


@keras.saving.register_keras_serializable(package="zoo_peer")
class LargeGhost(GhostBatchNorm):
    """A ghost larger than any batch of the tests."""

    def __init__(self, virtual_batch_size=1024, **kwargs):
        super().__init__(virtual_batch_size, **kwargs)


class Swapped:
    """Gives `layer` to the core tests of the class beside this one."""

    layer = None

    def setUp(self):
        if self._testMethodName in EXCEPTIONS:
            self.skipTest(EXCEPTIONS[self._testMethodName])
        filtering = keras.config.is_traceback_filtering_enabled()
        super().setUp()
        if filtering:
            self.addCleanup(keras.config.enable_traceback_filtering)
        names = {**vars(core.layers), "BatchNormalization": self.layer}
        patch = mock.patch.object(core, "layers", types.SimpleNamespace(**names))
        patch.start()
        self.addCleanup(patch.stop)


class TestOneGhost(Swapped, core.BatchNormalizationTest):
    layer = OneGhost


class TestLargeGhost(Swapped, core.BatchNormalizationTest):
    layer = LargeGhost


def test_exceptions_name_tests():
    assert all(hasattr(core.BatchNormalizationTest, name) for name in EXCEPTIONS)


def test_the_layer_is_swapped():
    test = TestOneGhost("test_serialization")
    test.setUp()
    assert core.layers.BatchNormalization is OneGhost
    assert core.layers.Masking is keras.layers.Masking
    test.doCleanups()
    assert core.layers.BatchNormalization is keras.layers.BatchNormalization
