"""The cases of bench/ in PyTorch: peer_torch.py THREADS.

Reads requests, one JSON object a line: {"case": NAME, "seconds": S, "args": {...}}. NAME is a function of this file or
"module:function" of a file beside it; called with the arguments it returns the function to time. Answers {"rate": runs per second}
or {"error": text}. The function of the last case is kept, so that asking again doesn't build it anew.
"""

import importlib
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))


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


def rate(run, seconds):
    """Runs per second: one to warm up, then batches that double until they take 5 ms."""
    run()
    batch, elapsed = 1, 0.0
    while True:
        began = time.perf_counter()
        for _ in range(batch):
            run()
        elapsed = time.perf_counter() - began
        if elapsed > min(0.005, seconds / 5):
            break
        batch *= 2
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or count == 0:
        for _ in range(batch):
            run()
        count += batch
    return count / elapsed


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
                kept = (key, find(request["case"])(**request["args"]))
            answer = {"rate": rate(kept[1], request["seconds"])}
        except Exception as error:
            answer = {"error": f"{request['case']}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
