"""The command line of main_al.py: every option, its default, and what contradicts what.

Defaults are the paper's; a data set's registry row may carry better ones for itself.  An option
that a run would not read is refused when given, so that nobody believes it had an effect.
"""

import argparse
import difflib
import os
import sys

from utils.errors import UserError

# Options that say where and how a run is done, not what comes out of it.
HOW = ("data_root", "device", "out", "run_dir", "exp_name", "resume", "checkpoint_epochs")

DATA_ROOT = {
    "metavar": "FOLDER",
    "help": "where the data sets are (default: the variable AL_DATA_ROOT, else ./downloads)",
}


class OneLineParser(argparse.ArgumentParser):
    """argparse, with errors of one line: the option and what would be right."""

    def error(self, message: str):
        sys.exit(complain(message.removeprefix("argument "), program=self.prog))

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for action in self._actions for name in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see --help"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return parsed


def complain(error, program: str | None = None, status: int = 2) -> int:
    """One line on standard error; returns the exit status."""
    program = program or os.path.basename(sys.argv[0])
    print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def number(kind: type, at_least=None, below=None, above=None, at_most=None):
    """A checked type for argparse; the bounds say themselves what would be right."""

    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        bounds = (
            (at_least, "at least", lambda bound: value >= bound),
            (above, "above", lambda bound: value > bound),
            (below, "below", lambda bound: value < bound),
            (at_most, "at most", lambda bound: value <= bound),
        )
        stated = [(word, bound, holds) for bound, word, holds in bounds if bound is not None]
        if value is None or not all(holds(bound) for _, bound, holds in stated):
            wanted = " and ".join(f"{word} {bound}" for word, bound, _ in stated)
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun} {wanted}".rstrip())
        return value

    return convert


def one_of(names):
    """A checked type for argparse: its own choices are worded differently from Python to Python."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown: one of {', '.join(names)}")
        return text

    return convert


positive = number(int, at_least=1)
natural = number(int, at_least=0)
above_zero = number(float, above=0, below=float("inf"))
not_negative = number(float, at_least=0, below=float("inf"))
fraction = number(float, at_least=0, below=1)


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
        "-b", "--b", "--batch-size", dest="batch_size", kind=positive, default=32, help="batch size"
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
    args = argparse.Namespace(**{**defaults, **spec.defaults, **given})
    _derive(args, given, spec)
    try:
        check(args, given)
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


def check(args, given) -> None:
    """Raises UserError where options contradict each other or one that is given is not read.

    args: all options; given: those of the command line."""
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
    unread = [
        ("initial_lr", "--initial-lr", args.lr_rampup > 0, "--lr-rampup above 0"),
        ("out", "--out", args.run_dir is None, "no --run-dir"),
        ("exp_name", "--exp-name", args.run_dir is None, "no --run-dir"),
    ]
    for name, option, is_read, wanted in unread:
        if name in given and not is_read:
            raise UserError(f"{option} is read only with {wanted}")
    if args.exp_name is not None and (not args.exp_name or set(args.exp_name) & set("/\\\0")):
        raise UserError(f"--exp-name {args.exp_name!r} must be a name without slashes")


def check_budget(args, images: int) -> None:
    """Raises UserError where the cycles ask for more labels than there are training images."""
    wanted = args.initial_size + (args.al_nb_cycles - 1) * args.al_budget
    if wanted > images:
        raise UserError(
            f"--al-budget {args.al_budget} over --al-nb-cycles {args.al_nb_cycles} needs {wanted} "
            f"labels, {args.dataset} has {images} training images: ask for less of either"
        )
