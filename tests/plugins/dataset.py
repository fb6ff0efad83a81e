"""A data set: the even digits, upright or upside down."""

from dataclasses import dataclass

from data import digits
from data.images import Images, check_images
from data.spec import DatasetSpec
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class FlipOptions(OptionGroup):
    section = "data"
    plugin_upside_down: bool = option(False, "Turn the images upside down.")


def load(root: str, *, flip: FlipOptions) -> tuple[Images, Images]:
    """Training and test part: 8 x 8 images of five classes."""
    train, test = (select_even_digits(part, flip) for part in digits.load(root))
    return train, test


def select_even_digits(part: Images, flip: FlipOptions) -> Images:
    is_even = part.labels % 2 == 0
    pixels = part.pixels[is_even]
    pixels = pixels.flip(2) if flip.plugin_upside_down else pixels
    return check_images(pixels.numpy(), part.labels[is_even] // 2)


SPEC = DatasetSpec(
    load,
    num_classes=5,
    channels=1,
    size=8,
    max_shift=1,
    flip=False,
    list_files=digits.SPEC.list_files,
    defaults={"arch": "plugin"},
)
