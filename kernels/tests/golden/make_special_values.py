"""Writes special_values.safetensors: what PyTorch makes of NaN, infinities and ties.

    python make_special_values.py

`operators/special_values.rs` repeats the cases under the same names. Indices of scatter are
different, since PyTorch leaves open which of equal ones stays.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(1)
tensors: dict[str, torch.Tensor] = {}
NAN, INF = float("nan"), float("inf")


def record(name: str, function, **inputs: torch.Tensor) -> None:
    """Inputs, result, a random gradient of the result and the gradients of the inputs."""
    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    result = function(**leaves)
    upstream = torch.randn_like(result)
    result.backward(upstream)
    entries = {"result": result.detach(), "upstream": upstream}
    for key, leaf in leaves.items():
        entries[key] = leaf.detach()
        entries[f"{key}.grad"] = leaf.grad
    for key, value in entries.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()


def special(*dims: int) -> torch.Tensor:
    """Numbers with one NaN, one infinity of each sign, in different places of the first entries."""
    x = torch.randn(*dims)
    flat = x.view(-1)
    for place, value in zip((1, 2 + len(flat) // 3, 1 + 2 * len(flat) // 3), (NAN, INF, -INF)):
        flat[place] = value
    return x


images = special(3, 2, 5, 6)
for padding, stride in ((0, 1), (1, 1), (1, 2)):
    record(f"conv2d/p{padding}s{stride}", lambda x, weight, bias: F.conv2d(x, weight, bias, stride, padding), x=images, weight=torch.randn(3, 2, 3, 3), bias=torch.randn(3))
record("conv2d/depthwise", lambda x, weight: F.conv2d(x, weight, None, 1, 1, 1, 2), x=images, weight=torch.randn(2, 1, 3, 3))
lines = special(2, 3, 9)
record("conv1d", lambda x, weight: F.conv1d(x, weight, None, 2, 1), x=lines, weight=torch.randn(4, 3, 3))
record("conv_transpose1d", lambda x, weight: F.conv_transpose1d(x, weight, None, 2, 1), x=lines, weight=torch.randn(3, 2, 4))
channels = torch.randn(4, 4, 3)
channels[0, 0, 0], channels[1, 1, 2], channels[2, 2, 1] = NAN, INF, -INF
record("batch_norm_train", lambda x, weight, bias: F.relu(F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5)), x=channels, weight=torch.randn(4), bias=torch.randn(4))
mean, var = torch.randn(4), torch.rand(4) + 0.5
tensors["batch_norm_eval/mean"], tensors["batch_norm_eval/var"] = mean, var
record("batch_norm_eval", lambda x, weight, bias: F.relu(F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-5)), x=channels, weight=torch.randn(4), bias=torch.randn(4))
rows = torch.tensor([[1.0, NAN, 2.0, 3.0], [1.0, INF, 2.0, 3.0], [1.0, -INF, 2.0, 3.0], [-INF, -INF, -INF, -INF], [INF, INF, 1.0, -INF], [100.0, -100.0, 0.0, 100.0]])
record("log_softmax", lambda x: F.log_softmax(x, -1), x=rows)
targets = torch.tensor([0, 1, 2, 3, 0, 1])
for row in range(len(rows)):
    record(f"cross_entropy/{row}", lambda x: F.cross_entropy(x, targets[row : row + 1]), x=rows[row : row + 1])
    record(f"cross_entropy/{row}/smoothed", lambda x: F.cross_entropy(x, targets[row : row + 1], label_smoothing=0.1), x=rows[row : row + 1])
tensors["cross_entropy/targets"] = targets
record("linear", lambda x, weight, bias: F.linear(x, weight, bias), x=special(4, 5), weight=torch.randn(3, 5), bias=torch.randn(3))
for y in (0.0, 0.3, 1.0):
    for number, x in enumerate((NAN, INF, -INF, 200.0, -200.0, 0.0, -12.0)):
        record(f"binary/{y}/{number}", lambda x, y: F.binary_cross_entropy_with_logits(x, y), x=torch.tensor([x, 0.5]), y=torch.tensor([y, 0.5]))
sums = torch.tensor([[1.0, INF, 2.0], [NAN, -INF, 3.0], [4.0, INF, INF]])
for axis in (0, 1):
    record(f"sum_axes/{axis}", lambda x: x.sum(axis), x=sums)
    record(f"max_axis/{axis}", lambda x: x.max(axis).values, x=torch.tensor([[1.0, NAN, 2.0, 2.0], [NAN, -INF, 2.0, NAN], [4.0, INF, INF, -INF], [-INF, -INF, -INF, -INF]]))
    record(f"gather/{axis}", lambda x: x.gather(axis, torch.tensor([[0, 2], [2, 2]])), x=sums)
    index = torch.tensor([[2, 0, 1], [0, 1, 2]]) if axis == 1 else torch.tensor([[2, 0, 1], [1, 2, 0]])
    record(f"scatter/{axis}", lambda x, source: x.scatter(axis, index, source), x=sums, source=special(2, 3))
    record(f"scatter_add/{axis}", lambda x, source: x.scatter_add(axis, index, source), x=sums, source=special(2, 3))
record("index_select", lambda x: x.index_select(0, torch.tensor([2, 0, 2])), x=sums)
record("embedding", lambda weight: F.embedding(torch.tensor([[2, 0], [2, 1]]), weight), weight=sums)
record("unfold", lambda x: x.unfold(1, 3, 2), x=special(2, 8, 3))
record("permute", lambda x: x.permute(2, 0, 1), x=special(2, 3, 4))
record("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1), x=images)
record("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (2, 3)), x=images)
for corners in (False, True):
    record(f"resize_bilinear2d/{corners}", lambda x: F.interpolate(x, (7, 4), mode="bilinear", align_corners=corners), x=images)
record("resize_nearest2d", lambda x: F.interpolate(x, (7, 4)), x=images)
teacher = special(2, 3, 4, 4)
record("segment_match", lambda expanded, teacher: 2 * F.mse_loss(expanded, teacher.repeat(1, 2, 1, 1)), expanded=torch.randn(2, 6, 4, 4), teacher=teacher)

save_file(tensors, Path(__file__).with_name("special_values.safetensors"))
