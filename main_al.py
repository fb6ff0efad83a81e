"""Deep active learning that also trains on the unlabeled images: one run on one split.

The loop is section 3 of Siméoni et al., "Rethinking deep active learning: using unlabeled data at
model training", ICPR 2020. For the options: python main_al.py --help.
"""

import sys

from utils import signals

PROGRAM = "main_al.py"

if __name__ == "__main__":  # before the imports below, which take seconds
    signals.exit_on_signal(PROGRAM)

from dataclasses import replace
from typing import Any

import torch

from al_methods import initial_method_name
from data.state import State
from experiment import queried_labels, result_tables, setup
from experiment.config import SCHEMA, component_needs
from experiment.experiment import Experiment
from experiment.finished_runs import print_results
from experiment.resume import answer_digests, is_finished, resume_run
from training.epoch import train_epoch
from training.lr_schedule import learning_rate
from training.network_outputs import evaluate_accuracy
from utils.console import EpochProgressBar, log, make_streams_safe, print_line
from utils.errors import UserError, WaitingForLabels
from utils.memory import memory_errors_refused
from utils.options.cli import print_error
from utils.options.option import OptionValues, kwargs_for
from utils.options.schema import build_parser, parse_options
from utils.seeding import derive_seed, rng_for

ALREADY_FINISHED_MESSAGE = "Finished before; nothing to do"
MEMORY_CURE = "lower --batch-size or use a smaller --arch; the same command resumes"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    make_streams_safe()
    parser = build_parser(
        SCHEMA,
        prog=PROGRAM,
        description="Deep active learning on images that also trains on the unlabeled ones.",
        epilog="A data set may have better defaults of its own; config.json shows what was used.",
    )
    options = parse_options(parser, SCHEMA, argv)
    try:
        with signals.raise_on_signal(), memory_errors_refused(MEMORY_CURE):
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
    """One run, from the start or from its last checkpoint.

    Raises UserError for what the user can correct, WaitingForLabels if a person has to label."""
    dataset, options, file_stats = setup.open_dataset_with_file_stats(options)
    with setup.open_run_folder(options, dataset) as run_folder:
        resumed = resume_run(options, dataset, run_folder)
        state, dataset = resumed.state, resumed.dataset
        if state and is_finished(state, options.al_nb_cycles):
            for note in resumed.notes:
                print_line(note)
            answers = answer_digests(options, dataset, run_folder, state)
            run_folder.record_finish(file_stats, state.cycle + 1, ALREADY_FINISHED_MESSAGE, answers)
            return
        file_stats |= setup.write_missing_split(options, dataset)
        notes = (*dataset.notes, *resumed.notes)
        run_folder.record_start(dataset.warnings, dataset.export_files, notes)

        # ---- 1. Optionally pre-train on all images without labels; every cycle starts from it.
        weights = setup.load_or_pretrain_weights(options, run_folder, dataset)
        learner = setup.make_learner(options, dataset)
        if resumed.learner:
            learner.load_state_dict(resumed.learner)
        state = run_loop(Experiment(options, dataset, run_folder, learner, weights), state)
        answers = answer_digests(options, dataset, run_folder, state)
        run_folder.record_finish(file_stats, state.cycle + 1, "Finished", answers)


def run_loop(experiment: Experiment, state: State | None) -> State:
    """The cycles, from the start or from the state of the last checkpoint; returns the last
    state."""
    # ---- 2. Query the first labels: those of a split, or the choice of a method.
    if state is None:
        state = query_initial(experiment)
    else:
        log.info("resuming at cycle %d, epoch %d", state.cycle + 1, state.epoch)

    while state.cycle < experiment.budget.al_nb_cycles:
        # ---- 3. Label the queried images; the run may stop here until a person has done so.  New
        # classes change the network, and corrected labels lead back to an earlier cycle.
        if state.queried is not None:
            experiment.save_checkpoint(state)
            experiment, state = label_queried_images(experiment, state)

        # ---- 4. Train a fresh network on the labels and on the algorithm's pseudo-labels.
        # ---- 5. Evaluate it with the weights of the last epoch.
        if not state.evaluated:
            state = train_cycle(experiment, state)
            state = evaluate_cycle(experiment, state)

        # ---- 6. Let the acquisition method choose what to query next; not after the last cycle.
        if experiment.is_last_cycle(state):
            break
        state = query_next(experiment, state)
    experiment.save_checkpoint(state)
    return state


def query_initial(experiment: Experiment) -> State:
    """The first state: the images of the split are queried, or what a method chooses from images
    without any labels."""
    dataset = experiment.dataset
    state = State.initial(dataset.initial_indices, len(dataset.images), dataset.class_names)
    if method := initial_method_name(experiment.options):
        reset_weights(experiment, cycle=0)
        with experiment.run_folder.time_stage("all", "select"):
            outputs, size = experiment.network_outputs(state), experiment.initial_size
            queried = experiment.select_queries(method, state, size, outputs, "initial")
        state = replace(state, queried=queried)
    return state


def label_queried_images(experiment: Experiment, state: State) -> tuple[Experiment, State]:
    """Reveal the labels of the queried images; the algorithm sets the cycle's first targets."""
    experiment, state = queried_labels.label_queried_images(experiment, state)
    targets = experiment.initial_targets(state)
    return experiment, replace(state, targets=targets, carry_over={})


def train_cycle(experiment: Experiment, state: State) -> State:
    """Train for the epochs of one cycle that are still missing."""
    cycle, epochs = state.cycle, range(state.epoch, experiment.schedule.epochs)
    if state.epoch == 0:
        reset_weights(experiment, cycle)
    with (
        experiment.run_folder.time_stage(cycle, "train"),
        EpochProgressBar(epochs, f"cycle {cycle + 1}: train") as progress,
    ):
        for _ in progress:
            state = train_next_epoch(experiment, update_targets(experiment, state))
            progress.set_postfix_str(f"loss {state.loss:.3f}")
            if experiment.checkpoint_due(state):
                experiment.save_checkpoint(state)
            experiment.take_snapshot(state)
    return state


def reset_weights(experiment: Experiment, cycle: int) -> None:
    """Set the weights a cycle starts from: random, pre-trained, or those of the previous cycle."""
    learner, pretrained = experiment.learner, experiment.pretrained_weights
    if cycle == 0 or not experiment.loop.finetuning:
        torch.manual_seed(derive_seed(experiment.split_seed, "weights", cycle))
        network = setup.network_factory(experiment.options, experiment.dataset)()
        if pretrained:
            network.backbone.load_state_dict(pretrained)
        learner.model.load_state_dict(network.state_dict())
    learner.reset()


def update_targets(experiment: Experiment, state: State) -> State:
    """New targets from the current network, if the algorithm updates them before this epoch."""
    algorithm, options = experiment.algorithm, experiment.options
    moment = state.cycle, state.epoch
    is_due = algorithm.update_due(*moment, **kwargs_for(options, algorithm.update_due))
    if algorithm.update_targets is None or not is_due:
        return state
    needs, active = component_needs(options, algorithm), experiment.active_pool(state)
    targets = algorithm.update_targets(
        pool=active.pool,
        num_classes=experiment.dataset.num_classes,
        rng=rng_for(experiment.split_seed, algorithm.rng_purpose, *moment),
        cycle=state.cycle,
        **active.select(experiment.network_outputs(state).get_tensors(needs)),
        **kwargs_for(options, algorithm.update_targets),
    )
    return replace(state, targets=active.spread_targets(targets))


def train_next_epoch(experiment: Experiment, state: State) -> State:
    """One epoch of training on the current targets."""
    learner, schedule, epoch = experiment.learner, experiment.schedule, state.epoch
    batches = experiment.make_batch_loader(state)
    torch.manual_seed(derive_seed(experiment.split_seed, "dropout", state.cycle, epoch))
    loss = train_epoch(
        learner.network,
        learner.optimizer,
        batches,
        learner.loss,
        lr_schedule=lambda fraction: learning_rate(epoch + fraction, schedule),
        amp=experiment.amp,
        after_step=learner.after_step,
        location=f"cycle {state.cycle + 1}, epoch {epoch + 1}",
    )
    return state.after_epoch(len(batches), loss)


def evaluate_cycle(experiment: Experiment, state: State) -> State:
    """Add the cycle's row to results.csv. Only here does the loop look at hidden true labels."""
    assert state.targets is not None
    dataset, run_folder = experiment.dataset, experiment.run_folder
    row: dict[str, Any] = {
        "cycle": state.cycle,
        "labeled": len(state.pool.labeled_order),
        "steps": state.steps,
        "train_loss": f"{state.loss:.6f}",
    }
    row |= result_tables.pseudo_label_columns(
        state.targets.labels, experiment.labels_with_duplicates(state), dataset.oracle.labels
    )
    location = f"cycle {state.cycle + 1}, epoch {state.epoch}, after the last step"
    with run_folder.time_stage(state.cycle, "evaluate"):
        for prefix, (images, labels) in dataset.eval_sets.items():
            accuracies = evaluate_accuracy(
                experiment.learner.eval_model, images, labels, amp=experiment.amp, location=location
            )
            row |= result_tables.accuracy_columns(prefix, *accuracies)
    row |= experiment.estimate_accuracy(state)
    run_folder.table_rows["results"].append(row)
    log.info(result_tables.format_cycle_line(row, experiment.budget.al_nb_cycles))
    state = replace(state, evaluated=True)
    experiment.take_snapshot(state)
    return state


def query_next(experiment: Experiment, state: State) -> State:
    """The first state of the next cycle: it queries what the acquisition method chooses, shows
    doubtful labels again, and has what the algorithm carries over from this cycle's network."""
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
    second_looks = experiment.choose_second_looks(state, outputs)
    following = state.next_cycle(queried, carry_over, second_looks)
    return experiment.add_predictions(following, outputs)


if __name__ == "__main__":
    sys.exit(main())
