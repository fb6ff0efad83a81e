"""scikit-learn's 1,797 handwritten digits, 8 x 8: real images that need no download.

Source: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998 (its test
part).  A stratified fifth is the test set, always the same.
"""

import numpy as np

from data.spec import DatasetSpec, Images, images_of


def load(root: str) -> tuple[Images, Images]:
    """1,437 training and 360 test images; `root` is not read."""
    from sklearn.datasets import load_digits  # a second that only its users should wait for
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16))[:, None]  # (N, 1, 8, 8), 17 grey levels
    train, test = train_test_split(
        np.arange(len(pixels)), test_size=0.2, stratify=digits.target, random_state=0
    )
    train.sort(), test.sort()
    return tuple(images_of(pixels[part], digits.target[part]) for part in (train, test))


SPEC = DatasetSpec(
    load, num_classes=10, arch="small_cnn", channels=1, size=8, max_shift=1, flip=False
)
