"""The cases of bench/ops.mjs and bench/score.mjs in PyTorch, each into outputs that exist where PyTorch can do that."""

import torch

functional = torch.nn.functional


def op(name, n):
    torch.set_grad_enabled(name in ("SGD with momentum", "Adam"))
    if name in ("SGD with momentum", "Adam"):
        return optimiser(name, n)
    x = torch.rand(n)
    m = x.view(-1, 100) if n % 100 == 0 else x.view(1, -1)
    out = torch.empty_like(x)
    gamma, beta = torch.ones(100), torch.zeros(100)
    mean, var = torch.zeros(100), torch.ones(100)
    row, column = m[:1].clone(), m[:, :1].clone()
    y = torch.rand(n) if name == "add" else None
    cases = {
        "relu": lambda: torch.clamp_min(x, 0, out=out),
        "exp": lambda: torch.exp(x, out=out),
        "tanh": lambda: torch.tanh(x, out=out),
        "sigmoid": lambda: torch.sigmoid(x, out=out),
        "gelu": lambda: functional.gelu(x),
        "add": lambda: torch.add(x, y, out=out),
        "add a row": lambda: torch.add(m, row, out=out.view_as(m)),
        "times a column": lambda: torch.mul(m, column, out=out.view_as(m)),
        "sum": lambda: torch.sum(x),
        "sum of rows": lambda: torch.sum(m, 1),
        "sum of columns": lambda: torch.sum(m, 0),
        "max of rows": lambda: torch.amax(m, 1),
        "variance of rows": lambda: torch.var(m, 1),
        "argmax of rows": lambda: torch.argmax(m, 1),
        "softmax": lambda: torch.softmax(m, 1),
        "layerNorm": lambda: functional.layer_norm(m, (100,)),
        "batchNorm and ReLU in training": lambda: functional.relu_(
            functional.batch_norm(m, mean, var, gamma, beta, training=True)
        ),
        "transpose": lambda: out.view(100, -1).copy_(m.t()),
    }
    return cases[name]


def optimiser(name, n):
    p = torch.nn.Parameter(torch.rand(n))
    p.grad = torch.rand(n)
    if name == "Adam":
        mover = torch.optim.Adam([p], lr=1e-6, foreach=True)
    else:
        mover = torch.optim.SGD([p], lr=1e-6, momentum=0.9, foreach=True)
    return mover.step


def score(name, size):
    torch.set_grad_enabled(False)
    w, g = torch.rand(size, size), torch.rand(size, size)
    cases = {
        "l1": lambda: torch.linalg.vector_norm(w, 1, dim=1),
        "l2": lambda: torch.linalg.vector_norm(w, dim=1),
        "taylor-weight": lambda: (w * g).square_().sum(1),
        "taylor-abs-sum": lambda: (w * g).sum(1).abs_(),
        "l2-taylor": lambda: (torch.linalg.vector_norm(w, dim=1), (w * g).square_().sum(1)),
    }
    return cases[name]
