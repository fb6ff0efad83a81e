"""Options that more than one pre-training reads."""

from utils.options.converters import MAX_COUNT, make_number_type, positive_float, positive_integer
from utils.options.option import Option

DIVERGENCE_ADVICE = "use a smaller --pretraining-lr"  # where the numbers are not finite any more

EPOCHS = Option(
    "pretraining_epochs", 400, "epochs", kind=positive_integer, keyword="epochs", metavar="N"
)
LR = Option("pretraining_lr", 0.02, "learning rate", kind=positive_float, keyword="lr")
BATCH_SIZE = Option(
    "pretraining_batch_size",
    128,
    "batch size",
    kind=make_number_type(int, at_least=2, sanity_limit=MAX_COUNT),
    keyword="batch_size",
    metavar="N",
)


def divergence_context(epoch: int) -> dict:
    """What an error says where the numbers are not finite any more."""
    return {"where": f"pre-training, epoch {epoch + 1}", "advice": DIVERGENCE_ADVICE}
