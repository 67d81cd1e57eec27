"""Linear warm-up of any learning-rate schedule."""

import keras
from keras import ops

from zoo._types import Array
from zoo.optimizers.checks import check_integer, check_not_negative


@keras.saving.register_keras_serializable(package="zoo")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the learning rate in equal steps, then follows a schedule.

    `lr(t) = schedule(t) * min(1, (t + 1) / warmup_steps)`, `t = 0, 1, ...`

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`.
        warmup_steps: int >= 0, updates until the schedule is followed in full.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> schedule = LinearWarmup(0.4, warmup_steps=4)
    >>> [round(float(schedule(step)), 2) for step in range(6)]
    [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]

    Reference:

    - Goyal et al., 2017, "Accurate, Large Minibatch SGD", section 2.2,
      [arXiv:1706.02677](https://arxiv.org/abs/1706.02677)
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        warmup_steps: int,
    ) -> None:
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if not isinstance(learning_rate, schedule):
            learning_rate = check_not_negative("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, 0)

    def __call__(self, step: Array) -> Array:
        rate = self.learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = rate(step)
        ramp = (ops.cast(step, "float32") + 1) / max(self.warmup_steps, 1)
        return rate * ops.minimum(ramp, 1.0)

    def get_config(self):
        rate = keras.saving.serialize_keras_object(self.learning_rate)
        return {"learning_rate": rate, "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        rate = keras.saving.deserialize_keras_object(config["learning_rate"])
        return cls(rate, config["warmup_steps"])
