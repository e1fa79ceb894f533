"""Single kernels in PyTorch, for bench/peer_torch.py: each function builds its inputs and returns the function to time."""

import torch
from torch.nn import functional as F


def gemm(m, n, k, ta, tb):
    """C[m,n] = op(A) * op(B) into a C that exists."""
    a = torch.rand(k, m).t() if ta else torch.rand(m, k)
    b = torch.rand(n, k).t() if tb else torch.rand(k, n)
    c = torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c)


def conv(direction, n, h, c, k, r, stride, channels_last):
    """One pass of a square convolution with padding r // 2: 'fwd', 'bwd_data' or 'bwd_weights'."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pad = r // 2
    x = torch.rand(n, c, h, h).to(memory_format=layout)
    w = torch.rand(k, c, r, r).to(memory_format=layout)
    if direction == "fwd":
        return lambda: F.conv2d(x, w, stride=stride, padding=pad)
    g = torch.rand_like(F.conv2d(x, w, stride=stride, padding=pad)).to(memory_format=layout)
    wanted = [direction == "bwd_data", direction == "bwd_weights", False]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(g, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, wanted)
