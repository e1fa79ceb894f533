"""The cases of bench/ in PyTorch: peer_torch.py THREADS [cuda].

Reads requests, one JSON object a line: {"case": NAME, "seconds": S, "args": {...}}. NAME is a function of this file or
"module:function" of a file beside it; called with the arguments it returns the function to time. Answers {"rate": runs per second}
or {"error": text}. The function of the last case is kept, so that asking again doesn't build it anew. On a GPU the runs are
captured in a CUDA graph, or eager where that fails, in f32 without TF32, and cuDNN chooses its kernels by trying them.
"""

import functools
import importlib
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
ON_GPU = sys.argv[2:] == ["cuda"]
if ON_GPU:
    torch.set_default_device("cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    # In a graph the number of steps has to be counted on the device.
    for name in ("Adam", "AdamW"):
        setattr(torch.optim, name, functools.partial(getattr(torch.optim, name), capturable=True))


def add():
    a, b = torch.ones(4), torch.ones(4)
    return lambda: a + b


def graph():
    """Ten additions, one after the other."""
    x = torch.ones(4)

    def run():
        y = x
        for _ in range(10):
            y = y + x
        return y

    return run


def step(sizes, batch, optimizer, foreach):
    """A training step of an MLP. foreach: the optimiser's form that handles all parameters in few calls, or one by one."""
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    if optimizer == "adam":
        mover = torch.optim.Adam(model.parameters(), lr=0.001, foreach=foreach)
    else:
        mover = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=foreach)
    x, y = torch.rand(batch, sizes[0]), torch.arange(batch) % sizes[-1]

    def run():
        mover.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        mover.step()

    return run


def captured(run):
    """A graph of some runs, and how many; the run itself where it can't be captured."""
    try:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
            torch.cuda.synchronize()
            began = time.perf_counter()
            run()
            torch.cuda.synchronize()
        count = max(1, min(64, int(0.002 / (time.perf_counter() - began))))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(count):
                run()
        return graph.replay, count
    except RuntimeError:
        torch.cuda.synchronize()
        return run, 1


def rate(run, seconds, each=1):
    """Runs per second: one to warm up, then batches that double until they take 5 ms. A call of `run` is `each` runs."""

    def timed(batch):
        began = time.perf_counter()
        for _ in range(batch):
            run()
        if ON_GPU:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    timed(1)
    batch = 1
    while timed(batch) <= min(0.005, seconds / 5):
        batch *= 2
    count, elapsed = 0, 0.0
    while elapsed < seconds:
        elapsed += timed(batch)
        count += batch
    return count * each / elapsed


def find(name):
    module, colon, function = name.rpartition(":")
    return getattr(importlib.import_module(module) if colon else sys.modules[__name__], function)


def main():
    kept = (None, None)
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["case"], json.dumps(request["args"], sort_keys=True))
        try:
            if kept[0] != key:
                kept = (None, None)
                torch.manual_seed(0)
                run = find(request["case"])(**request["args"])
                kept = (key, captured(run) if ON_GPU else (run, 1))
            run, each = kept[1]
            answer = {"rate": rate(run, request["seconds"], each)}
        except Exception as error:
            answer = {"error": f"{request['case']}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
