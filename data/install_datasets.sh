#!/bin/sh
# Download MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100, or those named, and generate splits:
#   sh data/install_datasets.sh [mnist fashion_mnist svhn cifar10 cifar100] [--data-root FOLDER]
#       [--mirror URL|FOLDER ...] [--verify]
# Options: sh data/install_datasets.sh --help
# PYTHON names the interpreter; by default it is the project's .venv where there is one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x "$here/../.venv/bin/python" ] && PYTHON="$here/../.venv/bin/python"
fi
exec "$PYTHON" "$here/download/main.py" "$@"
