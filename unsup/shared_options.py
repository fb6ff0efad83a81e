"""Options that more than one pre-training reads."""

from utils.options.converters import LARGEST_COUNT, above_zero, number, positive
from utils.options.option import Option

ADVICE = "use a smaller --pretraining-lr"  # where the numbers are not finite any more

EPOCHS = Option("pretraining_epochs", 400, "epochs", kind=positive, keyword="epochs", metavar="N")
LR = Option("pretraining_lr", 0.02, "learning rate", kind=above_zero, keyword="lr")
BATCH_SIZE = Option(
    "pretraining_batch_size",
    128,
    "batch size",
    kind=number(int, at_least=2, largest=LARGEST_COUNT),
    keyword="batch_size",
    metavar="N",
)


def told(epoch: int) -> dict:
    """What an error says where the numbers are not finite any more."""
    return {"where": f"pre-training, epoch {epoch + 1}", "advice": ADVICE}
