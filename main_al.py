"""Deep active learning that also trains on the unlabeled images: one run, of one split.

The loop is section 3 of Siméoni et al., "Rethinking deep active learning: using unlabeled data at
model training", ICPR 2020.  What each option does: python main_al.py --help.
"""

import sys
from dataclasses import asdict
from functools import partial

import torch

from al_methods import METHODS, select
from data import DATASETS, splits
from data.batches import TrainingBatches, epoch_streams
from data.pool import Pool, from_plain, plain, supervised_targets
from data.problem import load_problem
from models import ARCHS, create_model
from semisup.ceal import confident_targets
from semisup.label_propagation import propagate, propagated_targets
from unsup.cache import pretrained_backbone
from utils import options, records, training
from utils.arguments import complain
from utils.arrays import as_numpy
from utils.environment import resolve_device
from utils.errors import UserError
from utils.experiment import Run, run_folder
from utils.keywords import keywords
from utils.option_checks import check_sizes
from utils.records import log
from utils.seeding import derive, stream
from utils.training import Progress


def main(argv=None) -> int:
    args, changed = options.parse(argv, DATASETS, ARCHS, METHODS)
    try:
        active_learning(args, changed)
    except UserError as error:
        return complain(error, "main_al.py")
    except KeyboardInterrupt:
        return complain("interrupted; the same command goes on", "main_al.py", 130)
    return 0


def active_learning(args, changed: dict) -> None:
    # ---- Data and run folder: what can be wrong with them is found before anything is written.
    spec, device = DATASETS[args.dataset], resolve_device(args.device, args.amp)
    seed = derive(args.seed, "split", args.split)  # splits differ in more than their labels
    rng = stream(seed, "validation")
    problem = load_problem(
        spec, args.data_root, rng=rng, device=device, **keywords(args, "problem")
    )
    images, oracle = problem.images, problem.oracle  # true labels go no further than this function
    check_sizes(args, len(images))
    run = Run(run_folder(args, changed), vars(args), device, args.resume)
    if run.finished:
        return run.report("Finished before; nothing to do")
    run.start()
    path, initial = splits.path_of(args.dataset, args.initial_size, args.split), problem.initial
    splits.write_missing(path, problem.ids[initial], oracle[initial])

    # ---- 1. Optionally pre-train on all images without labels; every cycle starts from it.
    build = partial(create_model, args.arch, spec.num_classes, spec.channels, args.isL2, args.sobel)
    backbone = None
    if args.add_unsupervised_pretraining:
        with run.timed("all", "pretrain"):
            backbone = pretrained(args, build, problem.everything, anew=run.state is None)

    # ---- 2. Start from a split, or from the last checkpoint.
    model = build().to(device)
    network = training.compiled(model, images.plain(slice(0, 2))) if args.compile else model
    pool = Pool.empty(len(images)).reveal(initial, oracle)
    targets = supervised_targets(pool, spec.num_classes)
    state = run.state or {"cycle": 0, "progress": asdict(Progress())}
    if run.state:
        pool, targets = from_plain(state)
        model.load_state_dict(state["model"])
        log.info("going on from cycle %d, epoch %d", state["cycle"] + 1, state["progress"]["epoch"])

    for cycle in range(state["cycle"], args.al_nb_cycles):
        # ---- 3. Train a fresh network on the labels and, with LP or CEAL, on pseudo-labels.
        if state["progress"]["epoch"] == 0 and not (args.finetuning and cycle > 0):
            torch.manual_seed(derive(seed, "weights", cycle))
            model.load_state_dict(build().state_dict())
            if backbone:
                model.backbone.load_state_dict(backbone)
        with run.timed(cycle, "train"):
            progress, targets = train(args, run, network, model, images, pool, targets, seed, state)

        # ---- 4. Evaluate with the last epoch's weights.
        with run.timed(cycle, "evaluate"):
            row = {"cycle": cycle, "labeled": len(pool.order), "steps": progress.steps}
            row |= {"train_loss": f"{progress.loss:.6f}"}
            row |= records.pseudo_columns(targets.labels, pool.labels, oracle)
            for prefix, (judge, truth) in problem.judges.items():
                accuracies = training.evaluate(network, judge, truth, amp=args.amp)
                row |= records.accuracy_columns(prefix, *accuracies)
        run.rows["results"].append(row)
        log.info(records.cycle_line(row, args.al_nb_cycles))

        # ---- 5. Let the method pick, reveal the labels; not after the last cycle.
        finished = cycle + 1 == args.al_nb_cycles
        if not finished:
            with run.timed(cycle, "select"):
                outputs, method = extracted(args, network, images), METHODS[args.al_method]
                inputs = {name: outputs[name] for name in method.needs}
                inputs |= keywords(args, "graph") if method.options else {}
                rng = stream(seed, "acquisition", cycle)
                kept = {"labels": pool.labels, "budget": args.al_budget, "rng": rng}
                picked = select(args.al_method, **kept, **inputs)
            pool = pool.reveal(picked, oracle)
            run.rows["acquired"] += records.acquired_rows(
                cycle, problem.ids[picked], oracle[picked]
            )
            targets = supervised_targets(pool, spec.num_classes)
            if args.add_ceal:
                probs = outputs["probs"]
                targets = confident_targets(probs, pool, cycle=cycle, **keywords(args, "ceal"))
        progress = {"cycle": cycle + 1, "progress": asdict(Progress()), "finished": finished}
        state = progress | plain(pool, targets) | {"model": model.state_dict()}
        run.save(state)
    run.report("Finished")


def pretrained(args, build, images, anew: bool) -> dict:
    """The backbone's weights, of the cache that all splits and methods share, or learned."""
    torch.manual_seed(derive(args.seed, "pretraining weights"))
    return pretrained_backbone(
        options.pretraining_root(args),
        build().to(images.device),
        images,
        keywords(args, "pretraining identity"),
        anew=anew and args.learn_unsupervised_pretraining,
        checkpoint_epochs=args.checkpoint_epochs,
        **keywords(args, "pretraining"),
    )


def train(args, run, network, model, images, pool, targets, seed, state):
    """One cycle's training, from the epoch that `state` has reached; -> Progress, last Targets."""
    cycle, start = state["cycle"], Progress(**state["progress"])
    optimizer = training.create_optimizer(model, **keywords(args, "optimizer"))
    if start.epoch > 0:
        optimizer.load_state_dict(state["optimizer"])

    def batches_of(epoch: int) -> TrainingBatches:
        nonlocal targets
        targets = renewed(args, targets, pool, network, images, seed, cycle, epoch)
        rng = stream(seed, "batches", cycle, epoch)
        streams = epoch_streams(targets, pool, rng=rng, **keywords(args, "streams"))
        return TrainingBatches(images, targets, streams, stream(seed, "augment", cycle, epoch))

    def after_epoch(progress: Progress) -> None:
        every = args.checkpoint_epochs
        if every and progress.epoch % every == 0 and progress.epoch < args.epochs:
            held = {"cycle": cycle, "progress": asdict(progress), "finished": False}
            held |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            run.save(held | plain(pool, targets))

    progress = training.fit(
        network,
        optimizer,
        batches_of,
        epochs=args.epochs,
        rate=partial(training.learning_rate, **keywords(args, "rate")),
        seed_of=partial(derive, seed, "dropout", cycle),
        start=start,
        stage=f"cycle {cycle + 1}: train",
        after_epoch=after_epoch,
        amp=args.amp,
    )
    return progress, targets


def renewed(args, targets, pool, network, images, seed, cycle, epoch):
    """The targets of an epoch: propagated every --lp-step epochs; CEAL's renewed if asked for."""
    if args.add_lp and epoch % args.lp_step == 0:
        features, _ = training.extract(network, images, amp=args.amp)
        classes = len(targets.class_weights)
        found = propagate(features, pool.labels, classes, **keywords(args, "graph"))
        rng = stream(seed, "propagation", cycle, epoch)
        return propagated_targets(found, pool, rng, **keywords(args, "propagation"))
    if args.add_ceal and args.ceal_repeat and cycle > 0 and epoch > 0:
        _, probs = training.extract(network, images, amp=args.amp)
        return confident_targets(as_numpy(probs), pool, cycle=cycle, **keywords(args, "ceal"))
    return targets


def extracted(args, network, images) -> dict:
    """Features and probabilities, only where the method or CEAL needs them."""
    needs = {*METHODS[args.al_method].needs} | ({"probs"} if args.add_ceal else set())
    if not needs:
        return {}
    features, probs = training.extract(network, images, amp=args.amp)
    return {"features": features, "probs": as_numpy(probs)}


if __name__ == "__main__":
    sys.exit(main())
