"""Twins in Triton of the kernels the project is named for: the segmented match and the Runge-Kutta step.

Straightforward kernels as one would write them for a GPU: one program a block of elements, one reading of
every operand, f32 sums a block that are added up in f64. `kernels.py` times them where Triton and a GPU are there.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def match_kernel(expanded, teacher, gradient, sums, row, scale, SLICES: tl.constexpr, WITH_GRADIENT: tl.constexpr, BLOCK: tl.constexpr):
    """One block of one image's teacher feature against all slices of the student's expanded one.

    `expanded` is [batch, SLICES, row] and `teacher` [batch, row], row = channels * height * width.
    """
    image = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    inside = at < row
    target = tl.load(teacher + image * row + at, mask=inside, other=0.0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for slice_index in tl.static_range(SLICES):
        place = (image * SLICES + slice_index) * row + at
        difference = tl.load(expanded + place, mask=inside, other=0.0) - target
        total += difference * difference
        if WITH_GRADIENT:
            tl.store(gradient + place, scale * difference, mask=inside)
    tl.store(sums + image * tl.num_programs(1) + block, tl.sum(total, axis=0))


def match(expanded, teacher, slices, with_gradient):
    """The loss, and its gradient in `expanded` (or None)."""
    batch, row = teacher.shape[0], teacher[0].numel()
    blocks = triton.cdiv(row, BLOCK)
    sums = torch.empty(batch * blocks, device=expanded.device)
    gradient = torch.empty_like(expanded) if with_gradient else expanded
    scale = 2.0 / teacher.numel()
    match_kernel[(batch, blocks)](expanded, teacher, gradient, sums, row, scale, slices, with_gradient, BLOCK)
    loss = sums.sum(dtype=torch.float64) / teacher.numel()
    return loss.float(), gradient if with_gradient else None


class SegmentMatch(torch.autograd.Function):
    """slices * mean((expanded - tiled teacher)^2); the forward pass writes the gradient."""

    @staticmethod
    def forward(context, expanded, teacher, slices):
        loss, gradient = match(expanded.contiguous(), teacher.contiguous(), slices, context.needs_input_grad[0])
        if gradient is not None:
            context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context, upstream):
        (gradient,) = context.saved_tensors
        return gradient * upstream, None, None


@triton.jit
def states_kernel(x, k1, k2, k3, k4, dt, states, row, total, weights, steps, ORDER: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr):
    """State j of sample b: x - steps[j] * dt[b] * sum_i weights[j, i] * k_i, for one block of one sample.

    `states` is [STATES, batch, row]; `weights` [STATES, ORDER] and `steps` [STATES] are small arrays.
    """
    sample = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < row
    place = sample * row + at
    start = tl.load(x + place, mask=inside, other=0.0)
    first = tl.load(k1 + place, mask=inside, other=0.0)
    second = first
    third = first
    fourth = first
    if ORDER >= 2:
        second = tl.load(k2 + place, mask=inside, other=0.0)
    if ORDER >= 3:
        third = tl.load(k3 + place, mask=inside, other=0.0)
    if ORDER >= 4:
        fourth = tl.load(k4 + place, mask=inside, other=0.0)
    h = tl.load(dt + sample)
    for state in tl.static_range(STATES):
        slope = tl.load(weights + state * ORDER) * first
        if ORDER >= 2:
            slope += tl.load(weights + state * ORDER + 1) * second
        if ORDER >= 3:
            slope += tl.load(weights + state * ORDER + 2) * third
        if ORDER >= 4:
            slope += tl.load(weights + state * ORDER + 3) * fourth
        tl.store(states + state * total + place, start - tl.load(steps + state) * h * slope, mask=inside)


@lru_cache
def small(numbers, device):
    """A few numbers on the device, carried there once."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)


def rk_step(x, slopes, dt, weights, steps):
    """States [states, batch, ...] of one step; `weights` and `steps` are lists of numbers."""
    batch, row = x.shape[0], x[0].numel()
    states = torch.empty((len(steps), *x.shape), device=x.device)
    k1, k2, k3, k4 = (*slopes, *[slopes[0]] * (4 - len(slopes)))  # those beyond the order are not read
    states_kernel[(batch, triton.cdiv(row, BLOCK))](
        x, k1, k2, k3, k4, dt, states, row, x.numel(), small(tuple(sum(weights, [])), x.device), small(tuple(steps), x.device), len(slopes), len(steps), BLOCK
    )
    return states


TWINS = {
    "segment_match": lambda a, o: SegmentMatch.apply(a["expanded"], a["teacher"], o["slices"]),
    "rk_step": lambda a, o: list(rk_step(a["x"], [a[f"k{i + 1}"] for i in range(o["order"])], a["dt"], o["weights"], o["steps"])),
}
