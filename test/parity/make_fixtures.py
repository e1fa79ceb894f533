"""Makes the fixtures of parity.test.ts with PyTorch (Debian's python3-torch): an MLP with batch norm and dropout off, 50 steps of
SGD with momentum and 50 of AdamW. Run: /usr/bin/python3 test/parity/make_fixtures.py. The tests themselves need no Python."""
import base64
import json
from pathlib import Path

import torch

INPUTS, HIDDEN, CLASSES, ROWS, BATCH, STEPS = 12, 24, 5, 160, 32, 50


def pack(t):
    kind = "i32" if t.dtype in (torch.int32, torch.int64) else "f32"
    data = t.detach().contiguous().to(torch.int32 if kind == "i32" else torch.float32).numpy()
    return {"dtype": kind, "shape": list(data.shape), "data": base64.b64encode(data.tobytes()).decode()}


def model():
    # No bias in front of a batch norm: its gradient is rounding noise, which Adam would scale up to full steps.
    return torch.nn.Sequential(
        torch.nn.Linear(INPUTS, HIDDEN, bias=False),
        torch.nn.BatchNorm1d(HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.0),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, CLASSES),
    )


NAMES = {"1.weight": "1.gamma", "1.bias": "1.beta", "1.running_mean": "1.runningMean", "1.running_var": "1.runningVar"}


def state(net):
    return {NAMES.get(k, k): pack(v) for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}


def train(make_optimizer, options, x, y):
    torch.manual_seed(2)
    net = model()
    first = state(net)
    optimizer = make_optimizer(net.parameters())
    losses = []
    for step in range(STEPS):
        rows = slice(step % (ROWS // BATCH) * BATCH, (step % (ROWS // BATCH) + 1) * BATCH)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net.eval()
    return {"options": options, "first": first, "losses": losses, "last": state(net), "logits": pack(net(x[:BATCH]))}


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    y = torch.arange(ROWS) * 7 % CLASSES
    x = torch.randn(ROWS, INPUTS)
    x[torch.arange(ROWS), y] += 1.5
    sgd = {"lr": 0.05, "momentum": 0.9, "weightDecay": 5e-4}
    nesterov = {"lr": 0.05, "momentum": 0.9, "weightDecay": 5e-4, "nesterov": True}
    adamw = {"lr": 2e-3, "weightDecay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}
    out = {
        "torch": torch.__version__,
        "batch": BATCH,
        "x": pack(x),
        "y": pack(y),
        "runs": {
            "SGD": train(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-4), sgd, x, y),
            "SGD nesterov": train(
                lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True), nesterov, x, y
            ),
            "AdamW": train(lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.01), adamw, x, y),
        },
    }
    path = Path(__file__).with_name("mlp.json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(path, path.stat().st_size)


main()
