"""Writes ctc_loss.safetensors: PyTorch's CTC loss of logits through a log-softmax, and its gradient.

    python make_ctc_loss.py

`operators/ctc_loss.rs` repeats the settings under the same names.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors: dict[str, torch.Tensor] = {}


def record(name: str, logits: torch.Tensor, targets: torch.Tensor, inputs: list[int], lengths: list[int], **options) -> None:
    """For every reduction, the loss and the gradient of the logits, computed in double precision."""
    tensors[f"{name}/logits"] = logits.clone()
    tensors[f"{name}/targets"] = targets.to(torch.uint32)
    for reduction in ("none", "mean", "sum"):
        leaf = logits.double().requires_grad_()
        losses = F.ctc_loss(leaf.log_softmax(2), targets, torch.tensor(inputs), torch.tensor(lengths), reduction=reduction, **options)
        upstream = torch.randn_like(losses)
        losses.backward(upstream)
        for key, value in {"result": losses.detach(), "upstream": upstream, "grad": leaf.grad}.items():
            tensors[f"{name}/{reduction}/{key}"] = value.float()


def random_targets(lengths: list[int], classes: int, blank: int) -> torch.Tensor:
    """Labels, many of them repeated; the padding is no class at all."""
    others = torch.tensor([label for label in range(classes) if label != blank])
    targets = torch.full((len(lengths), max(lengths)), 9999)
    for row, length in zip(targets, lengths):
        row[:length] = others[torch.randint(0, len(others), (length,))]
    return targets


inputs, lengths = [12, 7, 12, 1, 9], [5, 3, 0, 1, 4]
padded = random_targets(lengths, 4, 0)
logits = torch.randn(12, 5, 4) * 2
record("padded", logits, padded, inputs, lengths)
flat = torch.cat([row[:length] for row, length in zip(padded, lengths)])
record("concatenated", logits, flat, inputs, lengths)
record("last_blank", logits, random_targets(lengths, 4, 3), inputs, lengths, blank=3)
record("long", torch.randn(60, 2, 12), random_targets([20, 25], 12, 0), [60, 55], [20, 25])
# No room for the target; two equal labels without room for the blank between; no frames.
hard, hard_lengths = torch.tensor([[1, 2, 3], [2, 2, 0], [1, 2, 3], [1, 1, 1]]), [3, 2, 3, 0]
record("impossible", torch.randn(4, 4, 4), hard, [2, 2, 4, 0], hard_lengths)
record("impossible_is_zero", torch.randn(4, 4, 4), hard, [2, 2, 4, 0], hard_lengths, zero_infinity=True)

save_file(tensors, Path(__file__).parent / "ctc_loss.safetensors")
