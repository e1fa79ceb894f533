"""Single kernels in PyTorch, for bench/peer_torch.py: each function builds its inputs and returns the function to time."""

import torch
from torch.nn import functional as F


def gemm(m, n, k, ta, tb):
    """C[m,n] = op(A) * op(B) into a C that exists."""
    a = torch.rand(k, m).t() if ta else torch.rand(m, k)
    b = torch.rand(n, k).t() if tb else torch.rand(k, n)
    c = torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c)


def conv(direction, n, h, c, k, r, stride, channels_last, groups):
    """One pass of a square convolution with padding r // 2: 'fwd', 'bwd_data' or 'bwd_weights'."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pad = r // 2
    x = torch.rand(n, c, h, h).to(memory_format=layout)
    w = torch.rand(k, c // groups, r, r).to(memory_format=layout)
    if direction == "fwd":
        return lambda: F.conv2d(x, w, stride=stride, padding=pad, groups=groups)
    g = torch.rand_like(F.conv2d(x, w, stride=stride, padding=pad, groups=groups)).to(memory_format=layout)
    wanted = [direction == "bwd_data", direction == "bwd_weights", False]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(g, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, wanted)


def masked(strategy, backward, n, batch, size, kernel, active):
    """A layer of n inputs and n outputs of which `active`, evenly spread, count: forward, or with all gradients.

    A linear layer when kernel is 0, else a convolution of size x size images. Strategies: 'slice' uses the leading block of the
    weight, 'select' a copy made by index_select, 'mask' the whole layer and multiplies by 0 and 1.
    """
    conv = kernel > 0
    layout = torch.channels_last if conv else torch.contiguous_format
    shape = (batch, n, size, size) if conv else (batch, n)
    x = torch.rand(shape).contiguous(memory_format=layout).requires_grad_(backward)
    w = torch.rand((n, n, kernel, kernel) if conv else (n, n)).contiguous(memory_format=layout).requires_grad_(backward)
    b = torch.rand(n, requires_grad=backward)
    index = torch.arange(active) * n // active
    mask = torch.zeros(n)
    mask[index] = 1.0
    mask = mask.view(1, n, 1, 1) if conv else mask
    apply = (lambda v, c: F.conv2d(x, v, c, padding=kernel // 2)) if conv else (lambda v, c: F.linear(x, v, c))

    def forward():
        if strategy == "slice":
            return apply(w[:active], b[:active])
        if strategy == "select":
            return apply(w.index_select(0, index), b.index_select(0, index))
        return apply(w, b) * mask

    g = torch.rand_like(forward()).detach()

    def run():
        y = forward()
        if backward:
            x.grad = w.grad = b.grad = None
            y.backward(g)

    return run
