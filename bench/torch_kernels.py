"""Single kernels in PyTorch, for bench/peer_torch.py: each function builds its inputs and returns the function to time."""

import torch


def gemm(m, n, k, ta, tb):
    """C[m,n] = op(A) * op(B) into a C that exists."""
    a = torch.rand(k, m).t() if ta else torch.rand(m, k)
    b = torch.rand(n, k).t() if tb else torch.rand(k, n)
    c = torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c)
