"""The environment of a run: device, memory and versions."""

import functools
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import os_errors_refused, read_json
from utils.options.option import OptionGroup, option
from utils.torch_faiss import faiss, torch


@dataclass(frozen=True)
class DeviceOptions(OptionGroup):
    """Where a run computes."""

    section = "run"
    device: str = option(
        "auto",
        "Device to compute on: auto, cpu, cuda or cuda:N. auto takes a GPU if there is one.",
        metavar="D",
        identity=False,
    )
    amp: bool = option(False, "Use bfloat16 arithmetic where it is safe; needs a GPU.")


RECORDED_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")


def resolve_device(name: str, amp: bool = False) -> torch.device:
    """The device for --device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

    On a GPU, torch is told to add in a fixed order wherever it can, so that equal runs give the
    same bytes.  Raises UserError if there is no such device, or if `amp` is set and it has no
    bfloat16."""
    device = _parse_device(name)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first product
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling new memory would cost time and change no result.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if amp and not (device.type == "cuda" and torch.cuda.is_bf16_supported()):
        raise UserError(f"--amp needs a GPU with bfloat16, but --device {name} is {device.type}")
    return device


def _parse_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "cuda" and count):
        return torch.device(name)
    if re.fullmatch("cuda:[0-9]{1,4}", name) and int(name[5:]) < count:
        return torch.device("cuda", int(name[5:]))
    if re.fullmatch("cuda(:[0-9]+)?", name) and not count:
        raise UserError(f"--device {name}: no CUDA device available; use --device cpu")
    available = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(count))])
    raise UserError(f"--device {name} is not available: choose from {available}")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """The environment of this start: time, versions, device, threads, git revision, command."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name()
    return {
        "time": datetime.now().astimezone().isoformat(" ", "seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _package_versions(),
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "git_revision": _git_revision(),
        "command": sys.argv,
    }


def read_environments(path: Path) -> list[dict[str, Any]]:
    """The starts that an environment.json records; empty if it cannot be read."""
    try:
        with os_errors_refused(path, "read"):
            starts = [dict(start) for start in read_json(path)["starts"]]
            return [start for start in starts if isinstance(start.get("versions", {}), dict)]
    except (UserError, ValueError, TypeError, KeyError):
        return []


def environment_changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How two starts differ in what can change the last digits of a result; "" if they do not."""
    old, new = ({**start, **start.get("versions", {})} for start in (before, now))
    names = ("device", "device_name", "threads", "git_revision", *now["versions"])
    changes = [
        f"{name.replace('_', ' ')} {new.get(name)} after {old.get(name)}"
        for name in names
        if old.get(name) != new.get(name)
    ]
    return ", ".join(changes)


@functools.cache
def _package_versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
    return versions | {"faiss": faiss.__version__}


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


@functools.cache  # the code that this process has imported stays the same
def _git_revision() -> str | None:
    """The checkout's commit, with '+' if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)

    try:
        revision = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return None
    if revision.returncode:
        return None
    return revision.stdout.strip() + ("+" if changes.stdout.strip() else "")


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far in MiB: of the GPU's allocator, or of the process on the CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
