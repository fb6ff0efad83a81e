"""The interpreter that has the libraries of label tools.

They require other versions of numpy and Pillow than this project may have, so that they are in an
environment of their own: `make tools` installs it; LABEL_TOOLS_PYTHON names another one."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("LABEL_TOOLS_PYTHON") or str(ROOT / ".label-tools" / "bin" / "python")
needs_label_tools = pytest.mark.skipif(not Path(PYTHON).exists(), reason="needs `make tools`")
