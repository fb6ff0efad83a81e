#!/bin/sh
# Download MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100, or those named, and make their splits:
#   sh data/install_datasets.sh [mnist fashion_mnist svhn cifar10 cifar100] [--data-root FOLDER]
#       [--mirror ADDRESS|FOLDER ...] [--verify]
# What each does: sh data/install_datasets.sh --help
# PYTHON names the interpreter; the project's own .venv is taken where there is one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x "$here/../.venv/bin/python" ] && PYTHON="$here/../.venv/bin/python"
fi
exec "$PYTHON" "$here/download/main.py" "$@"
