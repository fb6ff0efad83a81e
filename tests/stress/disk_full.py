"""Too little space, by a small disk or by a limit of the file size: one line, status 1, and the run
resumes when there is room again."""

import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.stress.kills import COMMON, MAIN, PRE, assert_same_result, run_to_end

MAX_DISK_BYTES = 2**20  # more than a run and its pre-training need
REASONS = {"disk": "No space left on device", "limit": "File too large"}


def fill_disk(num_sizes: int, seed: int) -> str:
    """Try random sizes; half of them are those of a disk, if one can be mounted.

    Raises AssertionError if a refusal is not one line, or if the result of a run differs."""
    rng, refusals = random.Random(seed), {"disk": 0, "limit": 0}
    kind = f"{PRE} --al-method coreset"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run_to_end(root / "whole", kind)
        can_mount = mount_disk(root / "killed", MAX_DISK_BYTES)
        remove(root / "killed")
        limits = ["limit", "disk"] if can_mount else ["limit"]
        for number in range(num_sizes):
            limit, size = limits[number % len(limits)], int(2 ** rng.uniform(8, 20))
            try:
                refusals[limit] += run_with_little_space(root, kind, limit, size)
            finally:
                remove(root / "killed")
    words = ", ".join(f"{count} by {limit}" for limit, count in refusals.items())
    return f"{num_sizes} sizes, refused {words}: one line each, and all bitwise equal afterwards"


def run_with_little_space(root: Path, kind: str, limit: str, size: int) -> bool:
    """Run with `size` bytes and then with enough space; returns whether the first was refused.

    limit: "disk" or "limit", the size of a disk or of a file."""
    if limit == "disk":
        mount_disk(root / "killed", -(-size // 4096) * 4096)
    argv = f"{COMMON} {kind} --run-dir run --out out".split()
    done = run_main(root / "killed", argv, size if limit == "limit" else None)
    if done.returncode:
        error = done.stderr
        assert done.returncode == 1 and error.count("\n") == 1 and REASONS[limit] in error, error
        assert " left)" in error, error
    if limit == "disk":
        subprocess.run(["mount", "-o", "remount,size=32m", root / "killed"], check=True)
    run_to_end(root / "killed", kind)
    assert_same_result(root, kind)
    return bool(done.returncode)


def mount_disk(folder: Path, size: int) -> bool:
    """Mount a disk of this size; returns whether that is possible."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def remove(folder: Path) -> None:
    """Unmount and delete the folder."""
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)
    subprocess.run(["rm", "-rf", folder], check=True)


def run_main(
    root: Path, argv: list[str], max_file_bytes: int | None
) -> subprocess.CompletedProcess[str]:
    def limit_file_size() -> None:
        if max_file_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    root.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, MAIN, *argv],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "AL_LABELS_ROOT": str(root / "labels")},
        preexec_fn=limit_file_size,
    )
