"""What tests of several folders share."""

import pytest
from absl import flags

import zoo.study.flags


@pytest.fixture(scope="module")
def define_flags():
    """Defines the flags of studies until the module's tests have ended."""
    others = set(flags.FLAGS)
    yield zoo.study.flags.define_flags
    for name in set(flags.FLAGS) - others:
        delattr(flags.FLAGS, name)
