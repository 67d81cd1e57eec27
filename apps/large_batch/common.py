"""What the experiments on large batches share: networks and flags."""

import functools
import math

from absl import flags

from zoo.models import alexnet, all_cnn, keskar, mlp, resnet
from zoo.study.tuning import Comparison

RULES = {"fixed": lambda ratio: 1.0, "sqrt": math.sqrt, "linear": float}
_SMALL = {"small_mlp": functools.partial(mlp, units=(128, 128))}
MODELS = {
    **_SMALL,
    "mlp": mlp,
    "small_cnn": functools.partial(all_cnn, filters=(16,) * 3 + (32,) * 5),
    "all_cnn": all_cnn,
    "alexnet": alexnet,
    **{
        f"resnet{depth}": functools.partial(resnet, depth)
        for depth in (18, 20, 32, 34, 44, 50, 56, 101)
    },
}
# Those of Table 1, and one for a quick look.
NETWORKS = {
    **_SMALL,
    **{
        name: functools.partial(keskar, name)
        for name in ("F1", "F2", "C1", "C2", "C3", "C4")
    },
}


class LargeBatchStudy(Comparison):
    """An experiment of the report on large batches."""

    name = "large_batch"

    @classmethod
    def define_flags(cls):
        flags.DEFINE_enum("model", None, list(MODELS), "Network of the regimes.")
        flags.DEFINE_list(
            "network",
            None,
            f"Networks whose minima are measured: {', '.join(NETWORKS)}.",
        )
        flags.DEFINE_integer(
            "large_batch_size",
            None,
            "Images a large batch; 0 takes a tenth of the training set.",
            lower_bound=0,
        )
        flags.DEFINE_integer(
            "virtual_batch_size", None, "Images a ghost.", lower_bound=2
        )
        flags.DEFINE_float(
            "learning_rate",
            None,
            "Of SGD at the small batch; of Adam where minima are measured.",
            lower_bound=0.0,
        )
        flags.DEFINE_enum(
            "lr_rule",
            None,
            list(RULES),
            "How the learning rate of regimes LR, LE and GBN+LE grows with the batch.",
        )
        flags.DEFINE_enum(
            "schedule",
            None,
            ["constant", "step", "cosine"],
            "Learning rate over a run; step divides by 10 at 1/2 and 3/4 of it.",
        )
        flags.DEFINE_float(
            "warmup_epochs", None, "Epochs of linear warm-up.", lower_bound=0.0
        )
        flags.DEFINE_float(
            "momentum", None, "Of SGD.", lower_bound=0.0, upper_bound=1.0
        )
        flags.DEFINE_float("weight_decay", None, "Decoupled.", lower_bound=0.0)
        flags.DEFINE_float(
            "clip_norm",
            None,
            "Global gradient norm where the learning rate is scaled; 0 does not clip.",
            lower_bound=0.0,
        )
        flags.DEFINE_bool("augment", None, "Random flips and 4-pixel shifts.")
        flags.DEFINE_float(
            "target_loss",
            None,
            "Training loss, nats, at which minima are compared.",
            lower_bound=0.0,
        )
        flags.DEFINE_integer(
            "measured",
            None,
            "Training images that minima are measured on; 0 takes all.",
            lower_bound=0,
        )
        flags.DEFINE_list("epsilon", None, "Sizes of the box of the sharpness.")
        flags.DEFINE_integer(
            "dimension", None, "Of the random subspace.", lower_bound=1
        )
        flags.DEFINE_list("alpha", None, "Factors of the first layer's weights.")
        flags.DEFINE_integer(
            "eigenvalues", None, "Largest eigenvalues to find.", lower_bound=1
        )
