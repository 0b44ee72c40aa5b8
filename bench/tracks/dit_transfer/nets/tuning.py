"""Which parameters of a DiT are trained: all, or those of a parameter-efficient way of the literature.

Each function changes a network in place, leaves requiring a gradient only what it trains, and gives those
parameters by name. The label table is always among them, as the target's classes are new. What is minimised
is another choice, made elsewhere (`bench.nn.diffusion`): any goes with any.

All but `prompts` leave the network's output as it was until the first step; prompts take part in the
attention from the start (as in VPT).

Imports torch and diffusers (seconds), `lora` also peft: import it inside functions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from bench.contract import BenchError, nearest
from bench.nn import weights
from bench.tracks.dit_transfer.nets.dit import DiT

M = TypeVar("M", bound=nn.Module)
#: Blocks of DiT-XL/2 in which DiffFit's best setting has scales, of all of them.
_SCALED, _BLOCKS = 14, 28


def full(model: DiT) -> dict[str, nn.Parameter]:
    """Train all parameters."""
    return _trained(model, lambda name: True)


def bitfit(model: DiT) -> dict[str, nn.Parameter]:
    """Train all biases (BitFit; Ben Zaken et al., ACL 2022)."""
    return _trained(model, lambda name: name.endswith(".bias"))


def lora(model: DiT, rank: int = 8, alpha: float | None = None) -> dict[str, nn.Parameter]:
    """Low-rank updates of the fused queries, keys and values (LoRA; Hu et al., ICLR 2022), by peft.

    Args:
        model: is changed.
        rank: of the update.
        alpha: the update is scaled by alpha / rank; None: by 1.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=rank if alpha is None else alpha, target_modules=["to_qkv"])  # type: ignore[arg-type]
    inject_adapter_in_model(config, model.net)
    return _trained(model, lambda name: ".lora_" in name)


class Adapted(nn.Module):
    """A layer with a bottleneck: ``f(x) + s g(x)`` beside it, ``h + s g(h)``, h = f(x), behind it.

    ``g(x) = W_up relu(W_down x + b) + c``, where W_up, b and c start at zero.
    """

    def __init__(self, base: nn.Module, size: int, width: int, scale: float, behind: bool) -> None:
        super().__init__()
        self.base, self.scale, self.behind = base, scale, behind
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)."""
        out: Tensor = self.base(x)
        more: Tensor = self.up(torch.relu(self.down(out if self.behind else x)))
        return out + self.scale * more


def adapter(
    model: DiT, place: Literal["parallel", "sequential"] = "parallel", width: int = 64, scale: float = 0.1
) -> dict[str, nn.Parameter]:
    """A bottleneck at each block's feed-forward layer (AdaptFormer; Chen et al., NeurIPS 2022).

    Inside the block's gated branch, without dropout and without a norm of its own: the number of parameters
    that DiffFit prints for DiT-XL/2 has room for no norm, and where its adapters lay could not be read.

    Args:
        model: is changed.
        place: beside the feed-forward layer, or behind it.
        width: of the bottleneck.
        scale: of what the bottleneck adds; AdaptFormer's for vision is 0.1.
    """
    if place not in ("parallel", "sequential"):
        raise BenchError(f"an adapter's place is 'parallel' or 'sequential', not {place!r}")
    behind = place == "sequential"
    for block in model.blocks:
        block.ff = _like(model, Adapted(block.ff, model.config.width, width, scale, behind))
    return _trained(model, lambda name: any(part in name for part in (".ff.down.", ".ff.up.")))


def prompts(model: DiT, tokens: int = 64) -> dict[str, nn.Parameter]:
    """Tokens of its own in front of each block's input, dropped behind it (VPT-deep; Jia et al., ECCV 2022).

    The number of tokens of DiffFit's row could not be read: its 2.81 M parameters would be 83.5 a block.
    """
    c = model.config
    bound = math.sqrt(6 / (3 * c.patch**2 + c.width))
    for block in model.blocks:
        values = torch.empty(tokens, c.width, device=model.labels.weight.device)
        block.register_parameter("prompts", nn.Parameter(nn.init.uniform_(values, -bound, bound)))
        block.register_forward_pre_hook(_with_prompts)
        block.register_forward_hook(_without_prompts)
    return _trained(model, lambda name: name.endswith(".prompts"))


def _with_prompts(block: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    x = args[0]
    own = block.prompts.to(x.dtype).expand(len(x), -1, -1)
    return (torch.cat([own, x], dim=1), *args[1:])


def _without_prompts(block: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output[:, len(block.prompts) :]


class Scaled(nn.Module):
    """A layer with a learnt factor a channel of its output, 1 at first."""

    def __init__(self, base: nn.Module, size: int) -> None:
        super().__init__()
        self.base, self.gamma = base, nn.Parameter(torch.ones(size))

    def forward(self, *args: Any, **named: Any) -> Tensor:
        """The layer's output for its arguments, scaled."""
        out: Tensor = self.gamma * self.base(*args, **named)
        return out


def difffit(model: DiT, blocks: int | None = None) -> dict[str, nn.Parameter]:
    """Biases, scales, and norms with weights (DiffFit; Xie et al., ICCV 2023).

    DiT's norms have no weights: all get them, 1 and 0 at first. Scales stand behind the fused queries, keys
    and values, behind the attention's projection, and on either residual branch.

    Args:
        model: is changed.
        blocks: how many of the first blocks have scales; None: half of them, DiffFit's best for DiT-XL/2
            (14 of 28).
    """
    width = model.config.width
    several = len(model.blocks) * _SCALED // _BLOCKS if blocks is None else blocks
    for owner, name in [(b.norm1, "norm") for b in model.blocks] + [(b, "norm3") for b in model.blocks]:
        setattr(owner, name, _affine(model, getattr(owner, name)))
    model.net.norm_out = _affine(model, model.net.norm_out)
    for block in model.blocks[:several]:
        attention = block.attn1
        attention.to_qkv = _like(model, Scaled(attention.to_qkv, 3 * width))
        attention.to_out[0] = _like(model, Scaled(attention.to_out[0], width))
        block.attn1 = _like(model, Scaled(attention, width))
        block.ff = _like(model, Scaled(block.ff, width))
    kinds = (".bias", ".gamma", "norm.weight", "norm3.weight", "norm_out.weight")
    return _trained(model, lambda name: name.endswith(kinds))


def _affine(model: DiT, norm: nn.LayerNorm) -> nn.LayerNorm:
    return _like(model, nn.LayerNorm(norm.normalized_shape, eps=norm.eps))


#: What is trained, by the name that a method's hyper-parameter has.
TUNINGS: Mapping[str, Callable[..., dict[str, nn.Parameter]]] = {
    "full": full,
    "bitfit": bitfit,
    "lora": lora,
    "adapter": adapter,
    "prompts": prompts,
    "difffit": difffit,
}


def tune(model: DiT, kind: str, **settings: Any) -> dict[str, nn.Parameter]:
    """Change ``model`` by the function of that name in `TUNINGS`; the parameters that are trained, by name.

    Raises:
        BenchError: no such name, or not one of the function's settings.
        ValueError: the model was changed before.
    """
    if kind not in TUNINGS:
        raise BenchError(f"what is trained: {kind!r} is unknown{nearest(kind, TUNINGS)}")
    known = [p for p in inspect.signature(TUNINGS[kind]).parameters if p != "model"]
    for name in settings:
        if name not in known:
            raise BenchError(f"{kind} has no setting {name!r}{nearest(name, known)}")
    return TUNINGS[kind](model, **settings)


def trained(model: DiT) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name."""
    return {name: p for name, p in model.weights().items() if p.requires_grad}


def save(model: DiT, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write what is trained, and nothing else, as safetensors."""
    weights.write(path, trained(model), about=about)


@torch.no_grad()
def restore(model: DiT, path: Path) -> None:
    """Take over what `save` wrote of a model changed in the same way.

    Raises:
        BenchError: no such file, or what another way of tuning trained.
    """
    found, mine = weights.read(path), trained(model)
    weights.check(path, found, mine)
    for name, parameter in mine.items():
        parameter.copy_(found[name])


def _trained(model: DiT, chosen: Callable[[str], bool]) -> dict[str, nn.Parameter]:
    """Let what is chosen, and the label table, have a gradient, and nothing else."""
    if model.tuned:
        raise ValueError("what this network trains was chosen before: start from a fresh copy")
    model.tuned = True
    for name, parameter in model.weights().items():
        parameter.requires_grad_(chosen(name) or parameter is model.labels.weight)
    return trained(model)


def _like(model: DiT, module: M) -> M:
    """The module, moved to the model's device."""
    return module.to(model.labels.weight.device)
