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

import torch

from al_methods import INITIAL_BALANCED, initial_method_name
from data.state import State, from_dict
from experiment import result_tables, setup
from experiment.config import SCHEMA, component_needs
from experiment.experiment import Experiment
from experiment.finished_runs import print_results
from training.epoch import train_epoch
from training.lr_schedule import learning_rate
from training.network_outputs import evaluate_accuracy
from utils.console import EpochProgressBar, log, make_streams_safe, print_line
from utils.errors import UserError, WaitingForLabels
from utils.options.cli import print_error
from utils.options.option import OptionValues, kwargs_for
from utils.options.schema import build_parser, parse_options
from utils.seeding import derive_seed, rng_for

ALREADY_FINISHED_MESSAGE = "Finished before; nothing to do"


def main(argv: list[str] | None = None) -> int:
    make_streams_safe()
    parser = build_parser(
        SCHEMA,
        prog=PROGRAM,
        description="Deep active learning on images, also training on the unlabeled ones.",
        epilog="A data set may have better defaults of its own; config.json shows what was used.",
    )
    options = parse_options(parser, SCHEMA, argv)
    try:
        with signals.raise_on_signal():
            if finished := setup.find_finished_run(options):
                print_results(finished, ALREADY_FINISHED_MESSAGE)
            else:
                run_active_learning(options)
    except UserError as error:
        return print_error(error, PROGRAM)
    except (signals.StoppedBySignal, WaitingForLabels) as stopped:
        print_line(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.exit_code
    return 0


def run_active_learning(options: OptionValues) -> None:
    """One run, or the rest of one.  Raises UserError for what the user can correct."""
    # ---- Data and run folder: whatever is wrong with them is found before anything is written.
    dataset, sources = setup.open_dataset_with_file_stats(options)
    with setup.open_run_folder(options, dataset) as run_folder:
        checkpoint = run_folder.last_checkpoint
        state = from_dict(checkpoint["state"]) if checkpoint else None
        if state and state.evaluated and state.cycle + 1 >= options.al_nb_cycles:
            return run_folder.record_finish(sources, state.cycle + 1, ALREADY_FINISHED_MESSAGE)
        sources |= setup.write_missing_split(options, dataset)
        run_folder.record_start(dataset.warnings, dataset.export_files)
        # ---- 1. Optionally pre-train on all images without labels; every cycle starts from it.
        weights = setup.load_or_pretrain_weights(options, run_folder, dataset)
        learner = setup.make_learner(options, dataset)
        run_loop(Experiment(options, dataset, run_folder, learner, weights), state)
        run_folder.record_finish(sources, options.al_nb_cycles, "Finished")


def run_loop(experiment: Experiment, state: State | None) -> None:
    """The loop, from the start or from the state of the last checkpoint."""
    # ---- 2. Query the first labels, those of a split or a method's choice; or resume.
    if state:
        experiment.learner.load_state_dict(experiment.run_folder.last_checkpoint)
        log.info("resuming at cycle %d, epoch %d", state.cycle + 1, state.epoch)
    else:
        state = query_initial(experiment)

    cycles = experiment.budget.al_nb_cycles
    for cycle in range(state.cycle, cycles):
        # ---- 3. Label the queried images; a run may stop here and wait for a person.
        if state.queried is not None:
            experiment.save_checkpoint(state)
            state = label_queried_images(experiment, state)

        # ---- 4. Train a fresh network on the labels and on the algorithm's pseudo-labels.
        # ---- 5. Evaluate it with the weights of the last epoch.
        if not state.evaluated:
            state = evaluate_cycle(experiment, train_cycle(experiment, state))

        # ---- 6. Let the acquisition method choose what to query next; not after the last cycle.
        if cycle + 1 < cycles:
            state = query_next(experiment, state)
    experiment.save_checkpoint(state)


def query_initial(experiment: Experiment) -> State:
    """The start: the images of the split are queried, or those that a method picks unlabeled."""
    dataset = experiment.dataset
    state = State.initial(dataset.initial_indices, len(dataset.images))
    if method := initial_method_name(experiment.options):
        reset_weights(experiment, cycle=0)
        with experiment.run_folder.time_stage("all", "select"):
            outputs, size = experiment.network_outputs(state), experiment.budget.initial_size
            queried = experiment.select_queries(method, state, size, outputs, "initial")
        state = replace(state, queried=queried)
    return state


def label_queried_images(experiment: Experiment, state: State) -> State:
    """The queried images are labeled, and the algorithm sets the first targets of the cycle."""
    labels = experiment.oracle_labels(state)
    if (
        state.cycle or experiment.methods.initial != INITIAL_BALANCED
    ):  # else the split's file has them
        indices = experiment.dataset.dataset_indices[state.queried]
        rows = result_tables.make_acquired_rows(state.cycle - 1, indices, labels)
        experiment.run_folder.table_rows["acquired"] += rows
        experiment.run_folder.write_tables()
    state = state.reveal_labels(labels)
    targets = experiment.algorithm.initial_targets(
        state.pool, experiment.dataset.num_classes, state.carry_over
    )
    return replace(state, targets=targets, carry_over={})


def train_cycle(experiment: Experiment, state: State) -> State:
    """The training of one cycle, from the epoch that `state` has reached."""
    cycle, learner, schedule = state.cycle, experiment.learner, experiment.schedule
    if state.epoch == 0:
        reset_weights(experiment, cycle)
    stage, epochs = f"cycle {cycle + 1}: train", range(state.epoch, schedule.epochs)
    with (
        experiment.run_folder.time_stage(cycle, "train"),
        EpochProgressBar(epochs, stage) as progress,
    ):
        for epoch in progress:
            state = update_targets(experiment, state)
            batches = experiment.make_batch_loader(state)
            torch.manual_seed(derive_seed(experiment.split_seed, "dropout", cycle, epoch))
            loss = train_epoch(
                learner.network,
                learner.optimizer,
                batches,
                learner.loss,
                lr_schedule=lambda done, epoch=epoch: learning_rate(epoch + done, schedule),
                amp=experiment.amp,
                after_step=learner.after_step,
                location=f"cycle {cycle + 1}, epoch {epoch + 1}",
            )
            state = state.after_epoch(len(batches), loss)
            progress.set_postfix_str(f"loss {loss:.3f}")
            if experiment.checkpoint_due(state):
                experiment.save_checkpoint(state)
            experiment.take_snapshot(state)
    return state


def reset_weights(experiment: Experiment, cycle: int) -> None:
    """The weights that a cycle starts from: random, pre-trained, or the previous cycle's."""
    learner = experiment.learner
    if cycle == 0 or not experiment.loop.finetuning:
        torch.manual_seed(derive_seed(experiment.split_seed, "weights", cycle))
        network = setup.network_factory(experiment.options, experiment.dataset)()
        learner.model.load_state_dict(network.state_dict())
        if experiment.pretrained_weights:
            learner.model.backbone.load_state_dict(experiment.pretrained_weights)
    learner.reset()


def update_targets(experiment: Experiment, state: State) -> State:
    """New targets from the network as it is now, if the algorithm wants them before this epoch."""
    algorithm, options = experiment.algorithm, experiment.options
    moment = state.cycle, state.epoch
    if not algorithm.update_due(*moment, **kwargs_for(options, algorithm.update_due)):
        return state
    needs = component_needs(options, algorithm)
    targets = algorithm.update_targets(
        pool=state.pool,
        num_classes=experiment.dataset.num_classes,
        rng=rng_for(experiment.split_seed, algorithm.rng_purpose, *moment),
        cycle=state.cycle,
        **experiment.network_outputs(state).get_tensors(needs),
        **kwargs_for(options, algorithm.update_targets),
    )
    return replace(state, targets=targets)


def evaluate_cycle(experiment: Experiment, state: State) -> State:
    """The cycle's row of results.csv.  Only here are true labels compared with the network's."""
    dataset, run_folder = experiment.dataset, experiment.run_folder
    row = {"cycle": state.cycle, "labeled": len(state.pool.labeled_order), "steps": state.steps}
    row |= {"train_loss": f"{state.loss:.6f}"}
    row |= result_tables.pseudo_label_columns(
        state.targets.labels, state.pool.labels, dataset.oracle.labels
    )
    location = f"cycle {state.cycle + 1}, epoch {state.epoch}, after the last step"
    with run_folder.time_stage(state.cycle, "evaluate"):
        for prefix, (images, labels) in dataset.eval_sets.items():
            accuracies = evaluate_accuracy(
                experiment.learner.eval_model, images, labels, amp=experiment.amp, location=location
            )
            row |= result_tables.accuracy_columns(prefix, *accuracies)
    run_folder.table_rows["results"].append(row)
    log.info(result_tables.format_cycle_line(row, experiment.budget.al_nb_cycles))
    experiment.take_snapshot(state := replace(state, evaluated=True))
    return state


def query_next(experiment: Experiment, state: State) -> State:
    """The next cycle: it queries what the acquisition method picks, and takes over what the
    algorithm keeps of this cycle's network."""
    algorithm, outputs, carry_over = experiment.algorithm, experiment.network_outputs(state), {}
    method, budget = experiment.methods.al_method, experiment.budget.al_budget
    with experiment.run_folder.time_stage(state.cycle, "select"):
        queried = experiment.select_queries(method, state, budget, outputs, "acquisition")
        if algorithm.carry_over:
            carry_over = algorithm.carry_over(
                cycle=state.cycle,
                **outputs.get_tensors(algorithm.carry_over_needs),
                **kwargs_for(experiment.options, algorithm.carry_over),
            )
    return state.next_cycle(queried, carry_over)


if __name__ == "__main__":
    sys.exit(main())
