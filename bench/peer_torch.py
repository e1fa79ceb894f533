"""The cases of bench/ in PyTorch: peer_torch.py CASE THREADS SECONDS prints the rate per second."""

import sys
import time

import torch

case, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(0)


def add():
    a, b = torch.ones(4), torch.ones(4)
    return lambda: a + b


def small_graph():
    x = torch.ones(4)

    def run():
        y = x
        for _ in range(10):
            y = y + x
        return y

    return run


def step(make_optimizer):
    layers = []
    for inputs, outputs in ((784, 512), (512, 256), (256, 10)):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = make_optimizer(model.parameters())
    x, y = torch.rand(128, 784), torch.arange(128) % 10

    def run():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


cases = {
    "add": add,
    "graph": small_graph,
    "sgd": lambda: step(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "adam": lambda: step(lambda p: torch.optim.Adam(p, lr=0.001)),
}
run = cases[case]()
for _ in range(20):
    run()
count, began, batch = 0, time.perf_counter(), 1
while (elapsed := time.perf_counter() - began) < seconds:
    for _ in range(batch):
        run()
    count += batch
    batch = max(1, int(count / max(elapsed, 1e-3) / 50))
print(count / (time.perf_counter() - began))
