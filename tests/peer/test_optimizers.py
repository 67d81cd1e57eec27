"""Keras's own tests of SGD, RMSprop and Adam hold for ours without optimism.

Keras ships its tests in its wheel. They run here as they are, with the class swapped.
"""

import importlib
from unittest import mock

import keras
import pytest

import zoo.optimizers

if not keras.__version__.startswith("3.15."):
    pytest.skip(
        f"inherits internal tests of Keras 3.15, this is {keras.__version__}",
        allow_module_level=True,
    )
sgd, rmsprop, adam = (
    pytest.importorskip(
        f"keras.src.optimizers.{name}_test",
        reason="this Keras does not ship its tests",
        exc_type=ImportError,
    )
    for name in ("sgd", "rmsprop", "adam")
)


@keras.saving.register_keras_serializable(package="zoo_peer")
class PlainSGD(zoo.optimizers.OptimisticSGD):
    def __init__(self, *args, optimism=0.0, **kwargs):
        super().__init__(*args, optimism=optimism, **kwargs)


@keras.saving.register_keras_serializable(package="zoo_peer")
class PlainRMSprop(zoo.optimizers.OptimisticRMSprop):
    def __init__(self, *args, optimism=0.0, **kwargs):
        super().__init__(*args, optimism=optimism, **kwargs)


@keras.saving.register_keras_serializable(package="zoo_peer")
class PlainAdam(zoo.optimizers.OptimisticAdam):
    def __init__(self, *args, optimism=0.0, **kwargs):
        super().__init__(*args, optimism=optimism, **kwargs)


class Swapped:
    """Gives `optimizer` to the core tests of the class beside this one."""

    optimizer = None

    def setUp(self):
        super().setUp()
        core = importlib.import_module(type(self).__mro__[2].__module__)
        name = type(self).__mro__[2].__name__.removesuffix("Test")
        patch = mock.patch.object(core, name, self.optimizer)
        patch.start()
        self.addCleanup(patch.stop)


class TestSGD(Swapped, sgd.SGDTest):
    optimizer = PlainSGD


class TestRMSprop(Swapped, rmsprop.RMSpropTest):
    optimizer = PlainRMSprop


class TestAdam(Swapped, adam.AdamTest):
    optimizer = PlainAdam


@pytest.mark.parametrize(
    "case, core, name",
    [
        (TestSGD, sgd, "SGD"),
        (TestRMSprop, rmsprop, "RMSprop"),
        (TestAdam, adam, "Adam"),
    ],
)
def test_the_class_is_swapped(case, core, name):
    theirs = getattr(core, name)
    test = case("test_config")
    test.setUp()
    assert getattr(core, name) is case.optimizer
    test.doCleanups()
    assert getattr(core, name) is theirs is getattr(keras.optimizers, name)
