"""Too little room: a small disk, and a limit of file size.  One line, status 1, and on it goes."""

import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.stress.kills import COMMON, MAIN, PRE, finish, same

LARGEST = 2**20  # bytes: more than the run and its pre-training take


def room(number: int, seed: int) -> str:
    """So many sizes, half of them a disk's where one can be mounted.

    Raises AssertionError where a refusal has no line, or a run came back different."""
    rng, refused = random.Random(seed), {"disk": 0, "limit": 0}
    kind = f"{PRE} --al-method coreset"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        finish(root / "whole", kind)
        ways = ["limit", "disk"] if mounted(root / "killed", LARGEST) else ["limit"]
        clear(root / "killed")
        for turn in range(number):
            way, size = ways[turn % len(ways)], int(2 ** rng.uniform(8, 20))
            try:
                refused[way] += tight(root, kind, way, size)
            finally:
                clear(root / "killed")
    told = ", ".join(f"{found} by {way}" for way, found in refused.items())
    return f"{number} sizes, refused {told}: a line each, and the same to the bit afterwards"


def tight(root: Path, kind: str, way: str, size: int) -> bool:
    """A run in so many bytes, and then with room enough; -> whether the first was refused."""
    limit = size if way == "limit" else None
    if way == "disk":
        mounted(root / "killed", -(-size // 4096) * 4096)
    done = attempt(root / "killed", f"{COMMON} {kind} --run-dir run --out out".split(), limit)
    if done.returncode:
        check(done, way)
    if way == "disk":
        subprocess.run(["mount", "-o", "remount,size=32m", root / "killed"], check=True)
    finish(root / "killed", kind)
    same(root, kind)
    return bool(done.returncode)


def mounted(folder: Path, size: int) -> bool:
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    return not subprocess.run(words, capture_output=True, check=False).returncode


def clear(folder: Path) -> None:
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)
    subprocess.run(["rm", "-rf", folder], check=True)


def attempt(root: Path, words: list[str], limit: int | None):
    def set_limit():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    root.mkdir(exist_ok=True)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "AL_LABELS_ROOT": str(root / "labels")}
    settings = {"cwd": root, "env": variables, "preexec_fn": set_limit}
    return subprocess.run(
        [sys.executable, MAIN, *words], capture_output=True, text=True, **settings
    )


def check(done, way: str) -> None:
    why = {"disk": "No space left on device", "limit": "File too large"}[way]
    told = done.stderr
    assert done.returncode == 1 and told.count("\n") == 1 and why in told, told
    assert " left)" in told, told
