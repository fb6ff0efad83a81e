"""The command line of main_al.py: every option, its default, and what contradicts what.

Defaults are the paper's; a data set's registry row may carry better ones for itself.  An option
that a run would not read is refused when given, so that nobody believes it had an effect.
"""

import argparse
import os

from utils.arguments import (
    OneLineParser,
    above_zero,
    boolean,
    fraction,
    natural,
    not_negative,
    number,
    one_of,
    portion,
    positive,
)
from utils.errors import UserError
from utils.option_checks import LABELED_BATCH_SIZES, check

# Options that say where and how a run is done, not what comes out of it.
HOW = ("data_root", "device", "out", "run_dir", "exp_name", "resume", "checkpoint_epochs")

DATA_ROOT = {
    "metavar": "FOLDER",
    "help": "where the data sets are (default: the variable AL_DATA_ROOT, else ./downloads)",
}


SEARCHES = ("auto", "exact", "approx")
LP_MODES = ("full", "certain", "prob", "uniform")


def default_data_root() -> str:
    return os.environ.get("AL_DATA_ROOT") or "./downloads"


class _Options:
    """Adds options to a parser that keeps only what was given, and collects their defaults."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parser, self.group, self.defaults = parser, None, {}

    def section(self, title: str) -> None:
        self.group = self.parser.add_argument_group(title)

    def add(self, *names, default=None, help, kind=str, **more) -> None:
        if kind is bool:
            more.update(nargs="?", const=True, metavar="True|False")
            kind = boolean
        elif isinstance(kind, list):
            more.update(metavar="{" + ",".join(kind) + "}")
            kind = one_of(kind)
        else:
            more.setdefault("metavar", "N" if kind in (positive, natural) else "X")
        shown = "" if default is None else f" (default: {default})"
        action = self.group.add_argument(
            *names, type=kind, default=argparse.SUPPRESS, help=help + shown, **more
        )
        self.defaults[action.dest] = default


def build_parser(datasets, archs, methods) -> tuple[OneLineParser, dict]:
    """The parser, which keeps only the options given, and the defaults of all of them.

    datasets, archs, methods: the registries, of which only the keys are read here."""
    parser = OneLineParser(
        prog="main_al.py",
        description="Deep active learning on images, also training on the unlabeled ones.",
        epilog="A data set may have better defaults of its own; config.json shows what was used.",
        allow_abbrev=False,
    )
    options = _Options(parser)
    add = options.add
    options.section("data")
    add("--dataset", kind=list(datasets), default="digits", help="what to learn")
    add("--data-root", **DATA_ROOT)
    add("--split", kind=natural, default=0, help="number of the initial split")
    options.section("active learning")
    add("--al-method", kind=list(methods), default="random", help="acquisition method")
    add("--al-budget", kind=positive, default=100, help="images to label in each cycle")
    add("--al-nb-cycles", kind=positive, default=10, help="training cycles")
    add(
        "--initial-size",
        kind=number(int, at_least=2),
        help="labels in cycle 0 (default: the budget)",
    )
    options.section("network")
    add("--arch", "-a", kind=list(archs), help="network (default: the data set's)")
    add("--isL2", kind=bool, default=True, help="unit-length features")
    options.section("training")
    add("--epochs", kind=positive, default=200, help="epochs in each cycle")
    add(
        "-b",
        "--b",
        "--batch-size",
        dest="batch_size",
        kind=positive,
        default=32,
        help="batch size; 128 with --add-lp",
    )
    add("--lr", "--learning-rate", dest="lr", kind=above_zero, default=0.2, help="learning rate")
    add("--initial-lr", kind=not_negative, default=0.0, help="rate at the start of the ramp-up")
    add("--lr-rampup", kind=natural, default=0, help="epochs of linear ramp-up to --lr")
    add(
        "--lr-rampdown-epochs",
        kind=positive,
        default=210,
        help="epochs in which the cosine ramp-down would reach zero, at least --epochs",
    )
    add("--momentum", kind=fraction, default=0.9, help="momentum of SGD")
    add("--nesterov", kind=bool, default=True, help="Nesterov momentum")
    add(
        "--weight-decay", "--wd", dest="weight_decay", kind=not_negative, default=2e-4,
        help="weight decay",
    )  # fmt: skip
    add("--finetuning", kind=bool, default=False, help="start from the last cycle's weights")
    add(
        "--use-val-set",
        kind=bool,
        default=False,
        help="hold 50 images a class out of the training set and report on them too",
    )
    add("--steps-per-epoch", kind=natural, default=0, help="0: one pass; else that many steps")
    options.section("label propagation (training on pseudo-labels of the graph)")
    add("--add-lp", kind=bool, default=False, help="train on propagated pseudo-labels too")
    add(
        "--labeled-batch-size",
        kind=positive,
        help="labeled images in a batch (default: 10 at batch 64, 50 at batch 128)",
    )
    add("--lp-mode", kind=list(LP_MODES), default="prob", help="which pseudo-labels are used")
    add("--lp-percent", kind=portion, default=0.5, help="part of the unlabeled images used")
    add("--lp-step", kind=positive, default=1, help="epochs between propagations")
    add("--tau", kind=number(float, at_least=0, at_most=1), default=0.0, help="least weight used")
    add("--lp-k", kind=positive, default=50, help="neighbours in the graph, of jLP too")
    add("--lp-gamma", kind=above_zero, default=3.0, help="exponent of the similarities, jLP's too")
    add("--lp-alpha", kind=fraction, default=0.99, help="α of the diffusion, of jLP too")
    add(
        "--knn",
        kind=list(SEARCHES),
        default="auto",
        help="search of neighbours, jLP's too; auto: exact up to 100,000 images",
    )
    add(
        "--loss-type",
        kind=["ce", "kl"],
        default="ce",
        help="kl: the propagated distribution is the target",
    )
    add("--is-pW", kind=bool, default=True, help="weight the pseudo-labels by their certainty")
    add("--is-cW", kind=bool, default=False, help="class weights")
    add(
        "--weighted-unlabeled-batch",
        kind=bool,
        default=False,
        help="draw pseudo-labeled images by weight (mode full only)",
    )
    options.section("CEAL (training on the network's confident predictions)")
    add("--add-ceal", kind=bool, default=False, help="train on confident predictions too")
    add("--ceal-th", kind=portion, default=0.1, help="entropy / log C below which one is used")
    add("--ceal-decay", kind=not_negative, default=0.00033, help="what the threshold loses a cycle")
    add("--ceal-repeat", kind=bool, default=False, help="renew the predictions after every epoch")
    options.section("unsupervised pre-training (DeepCluster)")
    add(
        "--add-unsupervised-pretraining",
        kind=bool,
        default=False,
        help="start from the cached weights; learn and cache them when there are none",
    )
    add(
        "--learn-unsupervised-pretraining",
        kind=bool,
        default=False,
        help="start from weights learned anew, which replace the cached ones",
    )
    add("--pretraining-epochs", kind=positive, default=400, help="epochs")
    add("--pretraining-lr", kind=above_zero, default=0.02, help="learning rate")
    add("--pretraining-batch-size", kind=number(int, at_least=2), default=128, help="batch size")
    add("--pretraining-clusters", kind=natural, default=0, help="0: five times the classes")
    add("--sobel", kind=bool, default=False, help="feed image gradients to the network")
    options.section("run")
    add("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    add("--seed", kind=natural, default=7, help="seed of everything random but the splits")
    add("--out", default="runs", metavar="FOLDER", help="where run folders go")
    add("--run-dir", metavar="FOLDER", help="this very run folder (default: one below --out)")
    add(
        "--exp-name", metavar="NAME", help="a name put before the options hash in the folder's path"
    )
    add("--resume", kind=bool, default=True, help="go on from the last checkpoint; False: anew")
    add("--checkpoint-epochs", kind=natural, default=25, help="0: between cycles only")
    add("--amp", kind=bool, default=False, help="bfloat16 arithmetic where it is safe, on a GPU")
    add("--compile", kind=bool, default=False, help="compile the network")
    return parser, options.defaults


def parse(argv, datasets, archs, methods) -> tuple[argparse.Namespace, dict]:
    """Options complete and checked, and those that differ from the paper's defaults.

    Exits with status 2 and one line where something is wrong."""
    parser, defaults = build_parser(datasets, archs, methods)
    given = vars(parser.parse_args(argv))
    spec = datasets[given.get("dataset", defaults["dataset"])]
    better = spec.defaults | (spec.lp_defaults if given.get("add_lp") else {})
    args = argparse.Namespace(**{**defaults, **better, **given})
    try:
        _derive(args, given, spec)
        check(
            args, given, defaults, reads_graph=args.add_lp or bool(methods[args.al_method].options)
        )
        if spec.size < archs[args.arch].min_size:
            raise UserError(
                f"--arch {args.arch} needs images of at least {archs[args.arch].min_size} pixels "
                f"a side, {args.dataset} has {spec.size}: use --arch {spec.arch}"
            )
    except UserError as error:
        parser.error(str(error))
    changed = {
        name: value
        for name, value in vars(args).items()
        if value != defaults[name] and name not in (*HOW, "split")
    }
    return args, changed


def _derive(args, given, spec) -> None:
    """Defaults that follow from other options."""
    args.data_root = args.data_root or default_data_root()
    args.arch = args.arch or spec.arch
    if args.initial_size is None:
        args.initial_size = args.al_budget
    if args.momentum == 0 and "nesterov" not in given:
        args.nesterov = False
    args.add_unsupervised_pretraining |= args.learn_unsupervised_pretraining
    if args.pretraining_clusters == 0:
        args.pretraining_clusters = 5 * spec.num_classes
    if args.add_lp:
        if "batch_size" not in {**given, **spec.lp_defaults}:
            args.batch_size = 128  # the paper's; a supervised batch is 32
        if args.labeled_batch_size is None:
            args.labeled_batch_size = LABELED_BATCH_SIZES.get(args.batch_size)


def pretraining_root(args) -> str:
    """The folder of the cache that all runs below --out share."""
    return os.path.join(args.out, "pretrained")
