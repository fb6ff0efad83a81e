"""Deep active learning that also trains on the unlabeled images: one run, of one split.

The loop is section 3 of Siméoni et al., "Rethinking deep active learning: using unlabeled data at
model training", ICPR 2020.  What each option does: python main_al.py --help.
"""

import sys
from dataclasses import asdict
from functools import partial

import torch

from al_methods import METHODS, select
from data import DATASETS
from data.batches import TrainingBatches, one_stream
from data.pool import Pool, supervised_targets
from data.problem import load_problem
from models import ARCHS, create_model
from utils import options, records, training
from utils.environment import resolve_device
from utils.errors import UserError
from utils.experiment import Run, run_folder
from utils.records import log
from utils.seeding import derive, stream
from utils.training import Progress


def main(argv=None) -> int:
    args, changed = options.parse(argv, DATASETS, ARCHS, METHODS)
    try:
        active_learning(args, changed)
    except UserError as error:
        return options.complain(error, "main_al.py")
    except KeyboardInterrupt:
        return options.complain("interrupted; the same command goes on", "main_al.py", 130)
    return 0


def active_learning(args, changed: dict) -> None:
    # ---- Data and run folder: what can be wrong with them is found before anything is written.
    spec, device = DATASETS[args.dataset], resolve_device(args.device, args.amp)
    seed = derive(args.seed, "split", args.split)  # splits differ in more than their labels
    problem = load_problem(
        spec,
        args.dataset,
        args.data_root,
        split=args.split,
        size=args.initial_size,
        validation=args.use_val_set,
        rng=stream(seed, "validation"),
        device=device,
    )
    images, oracle = problem.images, problem.oracle  # true labels go no further than this function
    options.check_budget(args, len(images))
    run = Run(run_folder(args, changed, suffix=""), vars(args), device, args.resume)
    if run.finished:
        return report(run, "Finished before; nothing to do")
    run.start()

    # ---- Start from a split, or from the last checkpoint.
    build = partial(create_model, args.arch, spec.num_classes, spec.channels, args.isL2)
    model = build().to(device)
    network = training.compiled(model, images.plain(slice(0, 2))) if args.compile else model
    pool = Pool.empty(len(images)).reveal(problem.initial, oracle)
    state = run.state or {"cycle": 0, "progress": asdict(Progress())}
    if run.state:
        pool = Pool(state["labels"].numpy(), state["order"].numpy())
        model.load_state_dict(state["model"])
        log.info("going on from cycle %d, epoch %d", state["cycle"], state["progress"]["epoch"])

    for cycle in range(state["cycle"], args.al_nb_cycles):
        # ---- Train a fresh network on what is labeled.
        start = Progress(**state["progress"])
        if start.epoch == 0 and not (args.finetuning and cycle > 0):
            torch.manual_seed(derive(seed, "weights", cycle))
            model.load_state_dict(build().state_dict())
        optimizer = training.create_optimizer(model, **optimizer_options(args))
        if start.epoch > 0:
            optimizer.load_state_dict(state["optimizer"])

        def batches_of(epoch, cycle=cycle, pool=pool):
            rng = stream(seed, "batches", cycle, epoch)
            streams = one_stream(pool.labeled, args.batch_size, rng, args.steps_per_epoch)
            targets = supervised_targets(pool, spec.num_classes)
            rng = stream(seed, "augment", cycle, epoch)
            return TrainingBatches(images, targets, streams, rng)

        def after_epoch(progress, cycle=cycle, pool=pool, optimizer=optimizer):
            every = args.checkpoint_epochs
            if every and progress.epoch % every == 0 and progress.epoch < args.epochs:
                run.save(
                    snapshot(cycle, progress, pool, model) | {"optimizer": optimizer.state_dict()}
                )

        with run.timed(cycle, "train"):
            progress = training.fit(
                network,
                optimizer,
                batches_of,
                epochs=args.epochs,
                rate=partial(training.learning_rate, **rate_options(args)),
                seed_of=partial(derive, seed, "dropout", cycle),
                start=start,
                stage=f"cycle {cycle + 1}: train",
                after_epoch=after_epoch,
                amp=args.amp,
            )

        # ---- Evaluate with the last epoch's weights.
        with run.timed(cycle, "evaluate"):
            row = {"cycle": cycle, "labeled": len(pool.order), "steps": progress.steps}
            row |= {
                "train_loss": f"{progress.loss:.6f}",
                "pseudo_labels": 0,
                "pseudo_accuracy": None,
            }
            for name, (judge, truth) in problem.judges.items():
                top1, top5 = training.evaluate(network, judge, truth, amp=args.amp)
                row |= {f"{name}top1": records.percent(top1), f"{name}top5": records.percent(top5)}
        run.rows["results"].append(row)
        log.info(records.cycle_line(row, args.al_nb_cycles))

        # ---- Let the method pick and reveal the labels; not after the last cycle.
        finished = cycle + 1 == args.al_nb_cycles
        if not finished:
            with run.timed(cycle, "select"):
                picked = acquire(args, network, images, pool, stream(seed, "acquisition", cycle))
            pool = pool.reveal(picked, oracle)
            run.rows["acquired"] += records.acquired_rows(
                cycle, problem.ids[picked], oracle[picked]
            )
        state = snapshot(cycle + 1, Progress(), pool, model, finished)
        run.save(state)
    report(run, "Finished")


def acquire(args, network, images, pool, rng):
    """The indices of the images to label next; only what the method needs is computed."""
    method, inputs = METHODS[args.al_method], {}
    if method.needs:
        features, probs = training.extract(network, images, amp=args.amp)
        both = {"features": features, "probs": probs}
        inputs = {name: both[name] for name in method.needs}
    return select(args.al_method, labels=pool.labels, budget=args.al_budget, rng=rng, **inputs)


def optimizer_options(args) -> dict:
    names = ("lr", "momentum", "nesterov", "weight_decay")
    return {name: getattr(args, name) for name in names}


def rate_options(args) -> dict:
    rampdown = args.lr_rampdown_epochs
    return {
        "lr": args.lr,
        "initial_lr": args.initial_lr,
        "rampup": args.lr_rampup,
        "rampdown": rampdown,
    }


def snapshot(cycle, progress, pool, model, finished=False) -> dict:
    """What a checkpoint holds: tensors and plain types."""
    return {
        "cycle": cycle,
        "progress": asdict(progress),
        "finished": finished,
        "labels": torch.from_numpy(pool.labels),
        "order": torch.from_numpy(pool.order),
        "model": model.state_dict(),
    }


def report(run, word: str) -> None:
    """The closing lines on the terminal."""
    print(records.closing_table(run.rows["results"]))
    print(f"{word}. Results: {run.folder / 'results.csv'}")


if __name__ == "__main__":
    sys.exit(main())
