"""The runs of a sweep as an array script for SLURM, a task a run."""

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
# A task a run.  A minute before its time is over, or when it is cancelled, a run saves what it has;
# this script, submitted again, goes on with it and passes over what is finished.  Partition, time
# and GPUs are for sbatch to say: sbatch --time=12:00:00 --gpus-per-task=1 THIS
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
    """The script; it is to be run where the sweep would be."""
    cases = [f"{n}) set -- {shlex.join(run.argv)} ;;" for n, run in enumerate(planned)]
    return SCRIPT_TEMPLATE.format(
        last=len(planned) - 1,
        folder=shlex.quote(os.getcwd()),
        threads=THREAD_COUNT_VARIABLE,
        cases="\n".join(cases),
        python=shlex.quote(sys.executable),
        main=shlex.quote(str(main)),
    )
