"""The learner: a network, its optimizer, its averaged weights and what its loss remembers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from utils.console import log
from utils.errors import UserError
from utils.options.converters import fraction_below_one, non_negative_float
from utils.options.option import OptionGroup, OptionValues, option


def create_optimizer(
    model: torch.nn.Module,
    *,
    lr: float = 0.2,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 2e-4,
) -> torch.optim.SGD:
    """Stochastic gradient descent over all parameters."""
    return torch.optim.SGD(
        model.parameters(), lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


@dataclass(frozen=True)
class OptimizerOptions(OptionGroup):
    """Stochastic gradient descent."""

    section = "training"
    momentum: float = option(
        0.9, "Momentum of stochastic gradient descent.", type=fraction_below_one
    )
    nesterov: bool = option(
        True,
        "Use Nesterov momentum in stochastic gradient descent.",
        default_from=lambda options: options.momentum > 0,
    )
    weight_decay: float = option(
        2e-4,
        "Weight decay of stochastic gradient descent.",
        type=non_negative_float,
        flags=("--weight-decay", "--wd"),
    )

    def check(self, options: OptionValues) -> None:
        if self.nesterov and self.momentum == 0:
            raise UserError("--nesterov needs a --momentum above 0")


@dataclass(frozen=True)
class EmaOptions(OptionGroup):
    """Averaged weights."""

    section = "training"
    ema: float = option(
        0.0,
        "Decay of an exponential moving average of the weights, which is then evaluated; 0 "
        "disables it.",
        type=fraction_below_one,
    )


@dataclass(frozen=True)
class CompileOptions(OptionGroup):
    """Compilation of the network."""

    section = "run"
    compile: bool = option(False, "Compile the network with torch.compile.")


class Learner:
    """A network and all that changes with it during training.

    network: what is trained, compiled on request.  eval_model: what is evaluated and extracted
    from, the averaged weights if there are any.  Call `reset` before the first epoch of a cycle."""

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        make_optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer],
        make_loss: Callable[[], torch.nn.Module],
        ema: float = 0.0,
        example_images: torch.Tensor | None = None,
    ):
        """make_optimizer: model -> optimizer; make_loss: () -> loss; ema: decay of the averaged
        weights, 0 for none; example_images: (B, c, H, W) to compile for, None not to compile."""
        self.model = model
        self.make_optimizer, self.make_loss, self.ema_decay = make_optimizer, make_loss, ema
        self.network = model if example_images is None else compile_model(model, example_images)
        self.reset()

    def reset(self) -> None:
        """Start a new optimizer, average and loss; the weights stay as they are."""
        self.optimizer = self.make_optimizer(self.model)
        self.loss = self.make_loss()
        self.ema_model: AveragedModel | None = None
        if self.ema_decay:
            average = partial(ema_update, self.ema_decay)
            self.ema_model = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)

    @property
    def eval_model(self) -> torch.nn.Module:
        """The model to evaluate: the averaged one if there is one."""
        return self.network if self.ema_model is None else self.ema_model

    def after_step(self) -> None:
        """Update the averaged weights."""
        if self.ema_model is not None:
            self.ema_model.update_parameters(self.model)

    def state_dict(self, training: bool) -> dict[str, Any]:
        """Tensors and plain types; training: whether to include what only the next step needs."""
        state = {"model": self.model.state_dict()}
        if self.ema_model is not None:
            state["averaged"] = self.ema_model.state_dict()
        if training:
            state["optimizer"] = self.optimizer.state_dict()
            state["loss"] = self.loss.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.reset()
        if self.ema_model is not None:
            self.ema_model.load_state_dict(state["averaged"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.loss.load_state_dict(state["loss"])


def ema_update(
    decay: float,
    averaged: list[torch.Tensor],
    current: list[torch.Tensor],
    steps: torch.Tensor | int,
) -> None:
    """Move the averaged weights towards the current ones.

    steps: number of updates so far.  While it is small, the decay is (1 + steps) / (10 + steps), so
    that the first weights do not dominate the average of a short training."""
    count = int(steps)
    get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(averaged, current, count)


def compile_model(model: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """The compiled model; where compilation fails, a warning and the model itself.

    Runs the model on `example` (B, c, H, W), because torch compiles only on the first call."""
    try:
        compiled = torch.compile(model, dynamic=True)
        assert isinstance(compiled, torch.nn.Module)  # as for every module
        with torch.no_grad():
            compiled(example)
        return compiled
    except Exception as error:  # a missing or failing compiler raises errors of many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("--compile has no effect here: %s", reason)
        torch.compiler.reset()
        return model
