"""The runs of a sweep as a SLURM array script with one task per run."""

import os
import shlex
import sys
from pathlib import Path

from sweeps.plan import PlannedRun
from sweeps.threads import THREAD_COUNT_VARIABLE

SCRIPT_TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=1
#SBATCH --output=sweep-%A-%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
# One task per run, which saves its state a minute before its time limit or when it is cancelled.
# Submitted again, this script resumes unfinished runs and skips finished ones.  Partition, time and
# GPUs are options of sbatch: sbatch --time=12:00:00 --gpus-per-task=1 THIS
set -eu
cd {folder}
export {threads}="${{SLURM_CPUS_PER_TASK:-1}}"
case "$SLURM_ARRAY_TASK_ID" in
{cases}
*) echo "no run $SLURM_ARRAY_TASK_ID: 0 to {last}" >&2; exit 2 ;;
esac
exec {python} {main} "$@"
"""


def make_array_script(planned: list[PlannedRun], main: Path) -> str:
    """The script; all paths must be the same on the machines of the cluster.

    main: path of main_al.py."""
    cases = [f"{n}) set -- {shlex.join(run.argv)} ;;" for n, run in enumerate(planned)]
    return SCRIPT_TEMPLATE.format(
        last=len(planned) - 1,
        folder=shlex.quote(os.getcwd()),
        threads=THREAD_COUNT_VARIABLE,
        cases="\n".join(cases),
        python=shlex.quote(sys.executable),
        main=shlex.quote(str(main)),
    )
