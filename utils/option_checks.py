"""Which options contradict each other, and which would not be read."""

from utils.errors import UserError

LABELED_BATCH_SIZES = {64: 10, 128: 50}  # batch size: labeled images of it, where none is given


def check(args, given, defaults, reads_graph: bool) -> None:
    """Raises UserError where options contradict each other or one that is given is not read.

    args: all options; given: those of the command line; defaults: the paper's; reads_graph: does
    the run use the graph?"""
    if args.initial_size < 2:
        raise UserError("--initial-size must be at least 2 (default: --al-budget), for batch norm")
    if args.lr_rampdown_epochs < args.epochs:
        raise UserError(
            f"--lr-rampdown-epochs {args.lr_rampdown_epochs} is below --epochs {args.epochs}: "
            f"give at least {args.epochs}"
        )
    if args.lr_rampup > args.epochs:
        raise UserError(f"--lr-rampup {args.lr_rampup} is above --epochs {args.epochs}")
    if args.nesterov and args.momentum == 0:
        raise UserError("--nesterov needs a --momentum above 0")
    if args.add_lp and args.add_ceal:
        raise UserError("--add-lp and --add-ceal exclude each other: give one")
    if args.add_lp and args.labeled_batch_size is None:
        raise UserError(
            f"--labeled-batch-size is needed at --batch-size {args.batch_size} "
            f"(known: {', '.join(f'{v} at {k}' for k, v in LABELED_BATCH_SIZES.items())})"
        )
    if args.add_lp and args.labeled_batch_size >= args.batch_size:
        raise UserError(
            f"--labeled-batch-size {args.labeled_batch_size} leaves no room in --batch-size "
            f"{args.batch_size}: give less"
        )
    _check_unread(args, given, defaults, reads_graph)
    if args.exp_name is not None and (not args.exp_name or set(args.exp_name) & set("/\\\0")):
        raise UserError(f"--exp-name {args.exp_name!r} must be a name without slashes")


def _check_unread(args, given, defaults, reads_graph: bool) -> None:
    """Raises UserError where an option is given that this run would not read."""
    pretraining = args.add_unsupervised_pretraining
    conditions = [
        ("initial_lr", args.lr_rampup > 0, "--lr-rampup above 0"),
        ("out", args.run_dir is None or pretraining, "no --run-dir"),
        ("exp_name", args.run_dir is None, "no --run-dir"),
        ("lp_k lp_gamma lp_alpha knn", reads_graph, "--add-lp or --al-method jlp"),
        ("labeled_batch_size lp_mode lp_percent lp_step tau", args.add_lp, "--add-lp"),
        ("loss_type is_pW is_cW weighted_unlabeled_batch", args.add_lp, "--add-lp"),
        ("lp_percent", args.lp_mode != "full", "--lp-mode certain, prob or uniform"),
        ("weighted_unlabeled_batch", args.lp_mode == "full", "--lp-mode full"),
        ("ceal_th ceal_decay ceal_repeat", args.add_ceal, "--add-ceal"),
        ("pretraining_epochs pretraining_lr", pretraining, "--add-unsupervised-pretraining"),
        ("pretraining_batch_size", pretraining, "--add-unsupervised-pretraining"),
        ("pretraining_clusters sobel", pretraining, "--add-unsupervised-pretraining"),
    ]
    for names, is_read, wanted in conditions:
        for name in names.split():
            off = given.get(name) is False and defaults[name] is False
            if name in given and not is_read and not off:
                raise UserError(f"--{name.replace('_', '-')} is read only with {wanted}")


def check_sizes(args, images: int) -> None:
    """Raises UserError where more labels or clusters are asked for than there are images."""
    if args.add_unsupervised_pretraining and args.pretraining_clusters > images:
        raise UserError(
            f"--pretraining-clusters {args.pretraining_clusters} is more than the {images} "
            f"training images of {args.dataset}"
        )
    wanted = args.initial_size + (args.al_nb_cycles - 1) * args.al_budget
    if wanted > images:
        raise UserError(
            f"--al-budget {args.al_budget} over --al-nb-cycles {args.al_nb_cycles} needs {wanted} "
            f"labels, {args.dataset} has {images} training images: ask for less of either"
        )
