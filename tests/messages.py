"""All sentences that the project says to its users, collected from the source.

Their exact wording is compared in one place, tests/messages.txt (tests/test_messages.py); every
other test looks for the flag and a keyword alone.  `make docs` writes the file.
"""

import ast

from tests.conftest import ROOT

FILE = ROOT / "tests" / "messages.txt"
PACKAGES = (
    *("al_methods", "data", "experiment", "labeling", "models", "reports", "scripts", "semisup"),
    *("sweeps", "training", "unsup", "utils"),
)
SPEAKING = {  # functions and exceptions whose texts a user reads
    *("UserError", "SystemRefusal", "WaitingForLabels", "NotFinite", "CorruptCheckpoint"),
    *("with_location", "print_line", "print_error", "error", "log_once"),
    *("log_if_no_pseudo_labels", "info", "warning", "debug", "option", "add_argument"),
    *("_give_up", "super", "__init__", "Condition"),
}


def render_messages() -> str:
    """The sentences of each file, in order, with {} for what is filled in."""
    paths = [*ROOT.glob("*.py"), *(path for p in PACKAGES for path in (ROOT / p).rglob("*.py"))]
    parts = []
    for path in sorted(paths):
        texts = [text for text in _texts_in(path.read_text()) if len(text.split()) > 1]
        if texts:
            name = path.relative_to(ROOT).as_posix()
            parts.append("\n".join([f"[{name}]", *dict.fromkeys(texts)]))
    return "\n\n".join(parts) + "\n"


def _texts_in(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _function_name(node.func) in SPEAKING:
            words = [word.value for word in node.keywords if word.arg in ("help", "default_text")]
            for argument in (*node.args, *words):
                found += [(node.lineno, text) for text in _texts_of(argument)]
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def _function_name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _texts_of(node: ast.expr) -> list[str]:
    """The texts that an argument may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)]
    if isinstance(node, ast.IfExp):
        return _texts_of(node.body) + _texts_of(node.orelse)
    return []
