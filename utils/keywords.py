"""From the options to the keyword arguments of each part: the options object stops in main."""

# What each part of the code takes of the options: its keyword argument, the option's name.
KEYWORDS = {
    "problem": {
        "name": "dataset",
        "split": "split",
        "size": "initial_size",
        "validation": "use_val_set",
    },
    "optimizer": {name: name for name in ("lr", "momentum", "nesterov", "weight_decay")},
    "rate": {
        "lr": "lr",
        "initial_lr": "initial_lr",
        "rampup": "lr_rampup",
        "rampdown": "lr_rampdown_epochs",
    },
    "streams": {
        "batch_size": "batch_size",
        "labeled_batch_size": "labeled_batch_size",
        "steps": "steps_per_epoch",
        "by_weight": "weighted_unlabeled_batch",
    },
    "graph": {"k": "lp_k", "gamma": "lp_gamma", "alpha": "lp_alpha", "search": "knn"},
    "propagation": {
        "mode": "lp_mode",
        "percent": "lp_percent",
        "tau": "tau",
        "weighted": "is_pW",
        "class_weighted": "is_cW",
        "loss_type": "loss_type",
    },
    "ceal": {"threshold": "ceal_th", "decay": "ceal_decay"},
    "pretraining": {
        "clusters": "pretraining_clusters",
        "epochs": "pretraining_epochs",
        "lr": "pretraining_lr",
        "batch_size": "pretraining_batch_size",
        "seed": "seed",
        "amp": "amp",
    },
    "pretraining identity": {name: name for name in ("dataset", "arch", "isL2", "sobel")},
}


def keywords(args, part: str) -> dict:
    """The keyword arguments of a part of the code, from the options."""
    return {name: getattr(args, option) for name, option in KEYWORDS[part].items()}
