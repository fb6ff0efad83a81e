"""Deep active learning that also trains on the unlabeled images: one run, of one split.

The loop is section 3 of Siméoni et al., "Rethinking deep active learning: using unlabeled data at
model training", ICPR 2020.  What each option does: python main_al.py --help.
"""

import sys

from utils import signals

PROGRAM = "main_al.py"

if __name__ == "__main__":  # before what takes seconds to import
    signals.leave_at_once(PROGRAM)

from dataclasses import replace
from functools import partial

import torch

from al_methods import BALANCED, first_of
from data.state import State, from_plain
from experiment import experiment, result_tables
from experiment.config import needs_of
from experiment.experiment import Experiment
from experiment.finished_runs import report
from labeling import oracle
from training.epoch import train_epoch
from training.lr_schedule import SCHEDULE, learning_rate
from training.network_outputs import evaluate
from utils.console import Bar, log, say, spare_terminal
from utils.errors import UserError, Waiting
from utils.options.cli import complain
from utils.options.schema import build_parser, parse
from utils.seeding import derive, stream

AGAIN = "Finished before; nothing to do"


def main(argv=None) -> int:
    spare_terminal()
    declared = experiment.declared()
    parser = build_parser(
        declared,
        prog=PROGRAM,
        description="Deep active learning on images, also training on the unlabeled ones.",
        epilog="A data set may have better defaults of its own; config.json shows what was used.",
    )
    args = parse(parser, declared, argv)
    try:
        with signals.stoppable():
            if before := experiment.finished_before(args):
                report(before, AGAIN)
            else:
                active_learning(args)
    except UserError as error:
        return complain(error, PROGRAM)
    except (signals.Stopped, Waiting) as stopped:
        say(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.status
    return 0


def active_learning(args) -> None:
    """One run, or the rest of one.  Raises UserError for what the user can mend."""
    # ---- Data and run folder: what can be wrong with them is found before anything is written.
    problem, sources = experiment.opened(args)
    with experiment.open_run(args, problem) as run:
        state = from_plain(run.state["state"]) if run.state else None
        if state and state.judged and state.cycle + 1 >= args.al_nb_cycles:
            return run.finish(sources, state.cycle + 1, AGAIN)
        sources |= experiment.write_split(args, problem)
        run.start(problem.notices, problem.texts)
        # ---- 1. Optionally pre-train on all images without labels; every cycle starts from it.
        start = experiment.pretrained(args, run, problem)
        e = Experiment(args, problem, run, experiment.new_learner(args, problem), start)
        cycles(e, state)
        run.finish(sources, args.al_nb_cycles, "Finished")


def cycles(e: Experiment, state: State | None) -> None:
    """The loop, from the start or from the state of the last checkpoint."""
    # ---- 2. Ask for the first labels, those of a split or a method's, or go on where it was.
    if state:
        e.learner.load_state_dict(e.run.state)
        log.info("going on from cycle %d, epoch %d", state.cycle + 1, state.epoch)
    else:
        state = asking(e)

    for cycle in range(state.cycle, e.args.al_nb_cycles):
        # ---- 3. Reveal the labels that are asked for; a run may stop before they are there.
        if state.asked is not None:
            e.save(state)
            state = revealed(e, state)

        # ---- 4. Train a fresh network on the labels and on what the algorithm makes of the rest.
        # ---- 5. Evaluate with the last epoch's weights.
        if not state.judged:
            state = judged(e, train(e, state))

        # ---- 6. Let the method pick what to ask for next; not after the last cycle.
        if cycle + 1 < e.args.al_nb_cycles:
            state = picked(e, state)
    e.save(state)


def asking(e: Experiment) -> State:
    """The start: the first labels are asked for, a split's or what a method picks without any."""
    state = State.asking(e.problem.initial, len(e.problem.images))
    if method := first_of(e.args):
        begin(e, cycle=0)
        with e.run.timed("all", "select"):
            first = e.picks(method, state, e.args.initial_size, e.outputs(state), "initial")
        state = replace(state, asked=first)
    return state


def revealed(e: Experiment, state: State) -> State:
    """The answers to what `state` asks for, and what there is to train on with them."""
    answers = oracle.answers(e, state)
    if state.cycle or e.args.initial != BALANCED:  # else they are in the split's file
        indices = e.problem.ids[state.asked]
        e.run.rows["acquired"] += result_tables.acquired_rows(state.cycle - 1, indices, answers)
        e.run.write_tables()
    state = state.reveal(answers)
    targets = e.algorithm.start(state.pool, e.problem.num_classes, state.carried)
    return replace(state, targets=targets, carried={})


def train(e: Experiment, state: State) -> State:
    """One cycle's training, from the epoch that `state` has reached."""
    cycle, due = state.cycle, e.run.checkpoints.due
    if state.epoch == 0:
        begin(e, cycle)
    rate = partial(learning_rate, **e.keywords(SCHEDULE.options, learning_rate))
    epochs = range(state.epoch, e.args.epochs)
    with e.run.timed(cycle, "train"), Bar(epochs, f"cycle {cycle + 1}: train") as shown:
        for epoch in shown:
            state = renewed(e, state)
            batches = e.batches(state)
            torch.manual_seed(derive(e.seed, "dropout", cycle, epoch))
            loss = train_epoch(
                e.learner.network,
                e.learner.optimizer,
                batches,
                e.learner.loss,
                rate=lambda done, epoch=epoch: rate(epoch + done),
                amp=e.args.amp,
                after_step=e.learner.after_step,
                where=f"cycle {cycle + 1}, epoch {epoch + 1}",
            )
            state = state.after_epoch(len(batches), loss)
            shown.set_postfix_str(f"loss {loss:.3f}")
            if state.epoch < e.args.epochs and due(state.epoch, e.args.checkpoint_epochs):
                e.save(state)
            e.keep(state)
    return state


def begin(e: Experiment, cycle: int) -> None:
    """The weights that a cycle starts from: fresh or pre-trained, or the last cycle's."""
    learner = e.learner
    if cycle == 0 or not e.args.finetuning:
        torch.manual_seed(derive(e.seed, "weights", cycle))
        fresh = experiment.network_maker(e.args, e.problem)()
        learner.model.load_state_dict(fresh.state_dict())
        if e.start:
            learner.model.backbone.load_state_dict(e.start)
    learner.begin()


def renewed(e: Experiment, state: State) -> State:
    """New targets from the network as it is, where the algorithm wants them before this epoch."""
    algorithm, moment = e.algorithm, (state.cycle, state.epoch)
    if not algorithm.due(*moment, **e.keywords(algorithm.options, algorithm.due)):
        return state
    targets = algorithm.renew(
        pool=state.pool,
        num_classes=e.problem.num_classes,
        rng=stream(e.seed, algorithm.draws, *moment),
        cycle=state.cycle,
        **e.outputs(state).of(needs_of(e.args, algorithm)),
        **e.keywords(algorithm.options, algorithm.renew),
    )
    return replace(state, targets=targets)


def judged(e: Experiment, state: State) -> State:
    """The cycle's row of results.csv.  The true labels judge; nothing else here sees them."""
    row = {"cycle": state.cycle, "labeled": len(state.pool.order), "steps": state.steps}
    row |= {"train_loss": f"{state.loss:.6f}"}
    row |= result_tables.pseudo_columns(
        state.targets.labels, state.pool.labels, e.problem.oracle.labels
    )
    where = f"cycle {state.cycle + 1}, epoch {state.epoch}, after the last step"
    with e.run.timed(state.cycle, "evaluate"):
        for prefix, (images, labels) in e.problem.judges.items():
            accuracies = evaluate(e.learner.judge, images, labels, amp=e.args.amp, where=where)
            row |= result_tables.accuracy_columns(prefix, *accuracies)
    e.run.rows["results"].append(row)
    log.info(result_tables.cycle_line(row, e.args.al_nb_cycles))
    e.keep(state := replace(state, judged=True))
    return state


def picked(e: Experiment, state: State) -> State:
    """The next cycle, which asks for what the method picks; and what this cycle's network leaves
    behind for it."""
    algorithm, outputs, carried = e.algorithm, e.outputs(state), {}
    with e.run.timed(state.cycle, "select"):
        asked = e.picks(e.args.al_method, state, e.args.al_budget, outputs, "acquisition")
        if algorithm.carry:
            options = e.keywords(algorithm.options, algorithm.carry)
            given = outputs.of(algorithm.carries_from)
            carried = algorithm.carry(cycle=state.cycle, **given, **options)
    return state.next_cycle(asked, carried)


if __name__ == "__main__":
    sys.exit(main())
