"""Deep active learning that also trains on the unlabeled images: one run, of one split.

The loop is section 3 of Siméoni et al., "Rethinking deep active learning: using unlabeled data at
model training", ICPR 2020.  What each option does: python main_al.py --help.
"""

import sys

from utils import signals

PROGRAM = "main_al.py"

if __name__ == "__main__":  # before what takes seconds to import
    signals.exit_on_signal(PROGRAM)

from dataclasses import replace
from functools import partial

import torch

from al_methods import INITIAL_BALANCED, initial_method_name
from data.state import State, from_dict
from experiment import experiment, result_tables
from experiment.config import component_needs
from experiment.experiment import Experiment
from experiment.finished_runs import print_results
from labeling import oracle
from training.epoch import train_epoch
from training.lr_schedule import SCHEDULE, learning_rate
from training.network_outputs import evaluate_accuracy
from utils.console import EpochProgressBar, log, make_streams_safe, print_line
from utils.errors import UserError, WaitingForLabels
from utils.options.cli import print_error
from utils.options.schema import build_parser, parse_options
from utils.seeding import derive_seed, rng_for

ALREADY_FINISHED_MESSAGE = "Finished before; nothing to do"


def main(argv=None) -> int:
    make_streams_safe()
    declared = experiment.option_schema()
    parser = build_parser(
        declared,
        prog=PROGRAM,
        description="Deep active learning on images, also training on the unlabeled ones.",
        epilog="A data set may have better defaults of its own; config.json shows what was used.",
    )
    args = parse_options(parser, declared, argv)
    try:
        with signals.raise_on_signal():
            if before := experiment.find_finished_run(args):
                print_results(before, ALREADY_FINISHED_MESSAGE)
            else:
                run_active_learning(args)
    except UserError as error:
        return print_error(error, PROGRAM)
    except (signals.StoppedBySignal, WaitingForLabels) as stopped:
        print_line(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.exit_code
    return 0


def run_active_learning(args) -> None:
    """One run, or the rest of one.  Raises UserError for what the user can mend."""
    # ---- Data and run folder: what can be wrong with them is found before anything is written.
    problem, sources = experiment.open_dataset_with_file_stats(args)
    with experiment.open_run_folder(args, problem) as run:
        state = from_dict(run.last_checkpoint["state"]) if run.last_checkpoint else None
        if state and state.evaluated and state.cycle + 1 >= args.al_nb_cycles:
            return run.record_finish(sources, state.cycle + 1, ALREADY_FINISHED_MESSAGE)
        sources |= experiment.write_missing_split(args, problem)
        run.record_start(problem.warnings, problem.export_files)
        # ---- 1. Optionally pre-train on all images without labels; every cycle starts from it.
        start = experiment.load_or_pretrain_weights(args, run, problem)
        e = Experiment(args, problem, run, experiment.make_learner(args, problem), start)
        run_loop(e, state)
        run.record_finish(sources, args.al_nb_cycles, "Finished")


def run_loop(e: Experiment, state: State | None) -> None:
    """The loop, from the start or from the state of the last checkpoint."""
    # ---- 2. Ask for the first labels, those of a split or a method's, or go on where it was.
    if state:
        e.learner.load_state_dict(e.run_folder.last_checkpoint)
        log.info("going on from cycle %d, epoch %d", state.cycle + 1, state.epoch)
    else:
        state = query_initial(e)

    for cycle in range(state.cycle, e.args.al_nb_cycles):
        # ---- 3. Reveal the labels that are asked for; a run may stop before they are there.
        if state.queried is not None:
            e.save_checkpoint(state)
            state = label_queried_images(e, state)

        # ---- 4. Train a fresh network on the labels and on what the algorithm makes of the rest.
        # ---- 5. Evaluate with the last epoch's weights.
        if not state.evaluated:
            state = evaluate_cycle(e, train_cycle(e, state))

        # ---- 6. Let the method pick what to ask for next; not after the last cycle.
        if cycle + 1 < e.args.al_nb_cycles:
            state = query_next(e, state)
    e.save_checkpoint(state)


def query_initial(e: Experiment) -> State:
    """The start: the first labels are asked for, a split's or what a method picks without any."""
    state = State.initial(e.dataset.initial_indices, len(e.dataset.images))
    if method := initial_method_name(e.args):
        reset_weights(e, cycle=0)
        with e.run_folder.time_stage("all", "select"):
            first = e.select_queries(
                method, state, e.args.initial_size, e.network_outputs(state), "initial"
            )
        state = replace(state, queried=first)
    return state


def label_queried_images(e: Experiment, state: State) -> State:
    """The answers to what `state` asks for, and what there is to train on with them."""
    answers = oracle.get_oracle_labels(e, state)
    if state.cycle or e.args.initial != INITIAL_BALANCED:  # else they are in the split's file
        indices = e.dataset.dataset_indices[state.queried]
        e.run_folder.table_rows["acquired"] += result_tables.make_acquired_rows(
            state.cycle - 1, indices, answers
        )
        e.run_folder.write_tables()
    state = state.reveal_labels(answers)
    targets = e.algorithm.initial_targets(state.pool, e.dataset.num_classes, state.carry_over)
    return replace(state, targets=targets, carry_over={})


def train_cycle(e: Experiment, state: State) -> State:
    """One cycle's training, from the epoch that `state` has reached."""
    cycle, due = state.cycle, e.run_folder.checkpoints.is_due
    if state.epoch == 0:
        reset_weights(e, cycle)
    rate = partial(learning_rate, **e.kwargs_for(SCHEDULE.options, learning_rate))
    epochs = range(state.epoch, e.args.epochs)
    with (
        e.run_folder.time_stage(cycle, "train"),
        EpochProgressBar(epochs, f"cycle {cycle + 1}: train") as shown,
    ):
        for epoch in shown:
            state = update_targets(e, state)
            batches = e.make_batch_loader(state)
            torch.manual_seed(derive_seed(e.split_seed, "dropout", cycle, epoch))
            loss = train_epoch(
                e.learner.network,
                e.learner.optimizer,
                batches,
                e.learner.loss,
                lr_schedule=lambda done, epoch=epoch: rate(epoch + done),
                amp=e.args.amp,
                after_step=e.learner.after_step,
                location=f"cycle {cycle + 1}, epoch {epoch + 1}",
            )
            state = state.after_epoch(len(batches), loss)
            shown.set_postfix_str(f"loss {loss:.3f}")
            if state.epoch < e.args.epochs and due(state.epoch, e.args.checkpoint_epochs):
                e.save_checkpoint(state)
            e.take_snapshot(state)
    return state


def reset_weights(e: Experiment, cycle: int) -> None:
    """The weights that a cycle starts from: fresh or pre-trained, or the last cycle's."""
    learner = e.learner
    if cycle == 0 or not e.args.finetuning:
        torch.manual_seed(derive_seed(e.split_seed, "weights", cycle))
        fresh = experiment.network_factory(e.args, e.dataset)()
        learner.model.load_state_dict(fresh.state_dict())
        if e.pretrained_weights:
            learner.model.backbone.load_state_dict(e.pretrained_weights)
    learner.reset()


def update_targets(e: Experiment, state: State) -> State:
    """New targets from the network as it is, where the algorithm wants them before this epoch."""
    algorithm, moment = e.algorithm, (state.cycle, state.epoch)
    if not algorithm.update_due(*moment, **e.kwargs_for(algorithm.options, algorithm.update_due)):
        return state
    targets = algorithm.update_targets(
        pool=state.pool,
        num_classes=e.dataset.num_classes,
        rng=rng_for(e.split_seed, algorithm.rng_purpose, *moment),
        cycle=state.cycle,
        **e.network_outputs(state).get_tensors(component_needs(e.args, algorithm)),
        **e.kwargs_for(algorithm.options, algorithm.update_targets),
    )
    return replace(state, targets=targets)


def evaluate_cycle(e: Experiment, state: State) -> State:
    """The cycle's row of results.csv.  The true labels judge; nothing else here sees them."""
    row = {"cycle": state.cycle, "labeled": len(state.pool.labeled_order), "steps": state.steps}
    row |= {"train_loss": f"{state.loss:.6f}"}
    row |= result_tables.pseudo_label_columns(
        state.targets.labels, state.pool.labels, e.dataset.oracle.labels
    )
    where = f"cycle {state.cycle + 1}, epoch {state.epoch}, after the last step"
    with e.run_folder.time_stage(state.cycle, "evaluate"):
        for prefix, (images, labels) in e.dataset.eval_sets.items():
            accuracies = evaluate_accuracy(
                e.learner.eval_model, images, labels, amp=e.args.amp, where=where
            )
            row |= result_tables.accuracy_columns(prefix, *accuracies)
    e.run_folder.table_rows["results"].append(row)
    log.info(result_tables.format_cycle_line(row, e.args.al_nb_cycles))
    e.take_snapshot(state := replace(state, evaluated=True))
    return state


def query_next(e: Experiment, state: State) -> State:
    """The next cycle, which asks for what the method picks; and what this cycle's network leaves
    behind for it."""
    algorithm, outputs, carried = e.algorithm, e.network_outputs(state), {}
    with e.run_folder.time_stage(state.cycle, "select"):
        asked = e.select_queries(e.args.al_method, state, e.args.al_budget, outputs, "acquisition")
        if algorithm.carry_over:
            options = e.kwargs_for(algorithm.options, algorithm.carry_over)
            given = outputs.get_tensors(algorithm.carry_over_needs)
            carried = algorithm.carry_over(cycle=state.cycle, **given, **options)
    return state.next_cycle(asked, carried)


if __name__ == "__main__":
    sys.exit(main())
