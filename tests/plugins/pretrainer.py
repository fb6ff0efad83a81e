"""A pre-training: tell by how much an image was darkened."""

import torch
import torch.nn.functional as F

from unsup import shared_options
from unsup.spec import Pretrainer
from utils.options.converters import fraction_below_one
from utils.options.option import Option
from utils.seeding import rng_for


def pretrain(
    model, images, *, num_classes, seed, epochs=400, darkest=0.5, resume=None, after_epoch, amp
) -> list[dict]:
    """A row an epoch: epoch, loss."""
    done = list(resume["rows"]) if resume else []
    model.train()
    if resume:
        model.load_state_dict(resume["model"])
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for epoch in range(len(done), epochs):
        rng = rng_for(seed, "guest", 0, epoch)
        chosen, shade = rng.permutation(len(images))[:64], rng.uniform(darkest, 1, size=64)
        shade = torch.as_tensor(shade, dtype=torch.float32, device=images.device)
        logits, _ = model(images.plain_batch(chosen) * shade[:, None, None, None])
        loss = F.mse_loss(logits[:, 0], shade)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done.append({"epoch": epoch, "loss": float(loss)})
        after_epoch(epoch + 1, {"model": model.state_dict(), "rows": done})
    return done


ROW = Pretrainer(pretrain, columns=("epoch", "loss"), options=(shared_options.EPOCHS,))
DARKEST = Option("guest_darkest", 0.5, "least shade", kind=fraction_below_one, keyword="darkest")
WITH_OPTION = Pretrainer(
    pretrain, columns=("epoch", "loss"), options=(shared_options.EPOCHS, DARKEST)
)
