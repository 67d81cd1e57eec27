"""What the presets of the experiments on critical periods share."""

QUICK = {
    "dataset": ["digits"],
    "limit": 640,
    "image_size": 0,
    "deficit": ["blur"],
    "blur_size": 2,
    "withheld": 9,
    "epochs": 10,
    "batch_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "decay": 0.9,
    "weight_decay": 1e-3,
    "normalization": "batch",
    "dropout": 0.0,
    "pool_size": 0,
    "double_softmax": False,
    "share_prefix": True,
    "runs": 3,
}
CPU = {
    **QUICK,
    "dataset": ["fashion_mnist"],
    "limit": 4096,
    "blur_size": 7,
    "epochs": 40,
    "decay": 0.94,
    "runs": 5,
}
# The report fixes the learning rate and takes the softmax twice; momentum, batch and
# normalisation are those of Achille et al. Their weight decay is part of the gradient,
# and with momentum ten times as strong as Keras's, decoupled, of the same number.
PAPER = {
    **CPU,
    "dataset": ["cifar10"],
    "limit": 0,
    "blur_size": 8,
    "epochs": 160,
    "batch_size": 128,
    "learning_rate": 0.005,
    "decay": 1.0,
    "weight_decay": 0.0,
    "pool_size": 2,
    "double_softmax": True,
}
# The report's other experiment: 10,000 images, Adam; truck is class 9. The report names
# the rate 0.005 for all experiments; Keras's own is a safer guess for Adam.
PLASTICITY = {
    "deficit": ["class"],
    "limit": 10000,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "decay": 1.0,
    "weight_decay": 0.0,
    "normalization": "none",
    "pool_size": 0,
}
QUICK_PLASTICITY = {**PLASTICITY, "limit": 640, "batch_size": 32}
