"""Packages for a machine without a network, from a folder of wheels."""

import os
import subprocess
import sys
from pathlib import Path


def install_wheels(wheels: Path, target: Path) -> None:
    """Install every wheel of a folder into `target`, for this process and those that it starts.

    What a wheel requires must be in the folder or installed already.  Raises FileNotFoundError for
    a folder without wheels, subprocess.CalledProcessError where pip fails."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise FileNotFoundError(f"{wheels} contains no .whl file")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-compile", "--target", str(target)]
    subprocess.run([*pip, *options, *map(str, files)], check=True)
    sys.path.insert(0, str(target))
    paths = [str(target), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
