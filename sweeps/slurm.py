"""The runs of a sweep as a SLURM array script."""

import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

from sweeps.plan import PlannedRun
from sweeps.threads import THREAD_COUNT_VARIABLE
from utils.lease import FolderInUse

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default; the highest index of a task is one less
RETRY_SECONDS = 20  # before a task tries again whose run folder another one holds
SCRIPT_TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array=0-{last_task}
#SBATCH --cpus-per-task=1
#SBATCH --output=sweep-%A-%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
# {runs_per_task}. SLURM sends SIGTERM about a minute before the time limit, and when a task is
# cancelled or requeued: the run saves its state, and the task ends as FAILED with exit code 143.
# Submitted again, this script resumes unfinished runs and skips finished ones; a run that another
# task executes is waited for. Partition, time and GPUs are options of sbatch:
# sbatch --time=12:00:00 --gpus-per-task=1 THIS
set -u
cd {folder} || exit 1
export {threads}="${{SLURM_CPUS_PER_TASK:-1}}"

if ((SLURM_ARRAY_TASK_ID > {last_run})); then
    echo "no run $SLURM_ARRAY_TASK_ID: 0 to {last_run}" >&2
    exit 2
fi

child=
stop() {{
    trap '' TERM
    [ -z "$child" ] || {{ kill -TERM "$child"; wait "$child"; }}
    exit 143
}}
trap stop TERM

execute() {{
    while :; do
        {python} {main} "$@" & child=$!
        wait "$child"; status=$?
        [ "$status" = {in_use} ] || return "$status"
        sleep {retry_seconds} & child=$!
        wait "$child"
    done
}}

task_status=0
for ((run = SLURM_ARRAY_TASK_ID; run <= {last_run}; run += {tasks})); do
    case "$run" in
{cases}
    esac
    execute "$@" || task_status=$?
done
exit "$task_status"
"""


def make_array_script(planned: list[PlannedRun], main: Path) -> str:
    """The script; all paths must be the same on the machines of the cluster.

    It has one task per run, or as many tasks as SLURM accepts, each with several runs.
    main: path of main_al.py."""
    tasks = min(len(planned), _max_array_size())
    most = math.ceil(len(planned) / tasks)
    runs_per_task = "One task per run" if most == 1 else f"Up to {most} runs per task, in turn"
    cases = [f"    {n}) set -- {shlex.join(run.argv)} ;;" for n, run in enumerate(planned)]
    return SCRIPT_TEMPLATE.format(
        last_task=tasks - 1,
        last_run=len(planned) - 1,
        tasks=tasks,
        runs_per_task=runs_per_task,
        folder=shlex.quote(os.getcwd()),
        threads=THREAD_COUNT_VARIABLE,
        cases="\n".join(cases),
        python=shlex.quote(sys.executable),
        main=shlex.quote(str(main)),
        in_use=FolderInUse.exit_code,
        retry_seconds=RETRY_SECONDS,
    )


def _max_array_size() -> int:
    """The number of tasks that an array may have on this cluster; 1,000 where it cannot be asked,
    which is within SLURM's default."""
    try:
        command = ["scontrol", "show", "config"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        words = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
        sizes = {name.strip(): value.strip() for name, value in words.items()}
        return max(1, int(sizes["MaxArraySize"]))
    except (OSError, subprocess.SubprocessError, KeyError, ValueError):
        return DEFAULT_MAX_ARRAY_SIZE - 1
