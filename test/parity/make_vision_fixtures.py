"""Makes vision.json, the fixtures of vision.test.ts, with PyTorch (Debian's python3-torch): values and gradients of attention, group
norm, layer norm and bilinear resize. Run: /usr/bin/python3 test/parity/make_vision_fixtures.py. The tests themselves need no Python."""
import base64
import json
from pathlib import Path

import torch
from torch.nn import functional as F


def pack(t):
    t = t.detach().contiguous().to(torch.float32)
    return {"shape": list(t.shape), "data": base64.b64encode(t.numpy().tobytes()).decode()}


def case(function, inputs):
    """The function's value and the gradients of the sum of its elements times fixed numbers."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    (y * weights).sum().backward()
    return {
        "inputs": [pack(x) for x in inputs],
        "output": pack(y),
        "gradients": [pack(x.grad) for x in leaves],
    }


def attention(causal):
    """[B, T, H, D] by PyTorch's own multi-head attention with identity projections."""

    def run(q, k, v):
        b, t, h, d = q.shape
        flat = [x.reshape(b, -1, h * d).transpose(0, 1) for x in (q, k, v)]
        eye = torch.eye(h * d)
        mask = torch.triu(torch.ones(t, k.shape[1], dtype=torch.bool), 1) if causal else None
        y, _ = F.multi_head_attention_forward(
            *flat, h * d, h, torch.cat([eye] * 3), torch.zeros(3 * h * d), None, None, False, 0.0, eye,
            torch.zeros(h * d), attn_mask=mask, need_weights=False,
        )  # fmt: skip
        return y.transpose(0, 1).reshape(b, t, h, d)

    return run


def channels_last(function):
    return lambda x, *rest: function(x.permute(0, 3, 1, 2), *rest).permute(0, 2, 3, 1)


def main():
    torch.manual_seed(5)
    q, k, v = torch.randn(2, 7, 3, 4), torch.randn(2, 9, 3, 4), torch.randn(2, 9, 3, 4)
    image, gamma, beta = torch.randn(2, 4, 5, 6) * 2 + 1, torch.randn(6), torch.randn(6)
    resize = lambda *size: channels_last(lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False))
    out = {
        "torch": torch.__version__,
        "cases": {
            "attention": case(attention(False), [q, k, v]),
            "attention causal": case(attention(True), [q, k[:, :7], v[:, :7]]),
            "groupNorm": case(channels_last(lambda x, a, b: F.group_norm(x, 3, a, b)), [image, gamma, beta]),
            "layerNorm": case(lambda x, a, b: F.layer_norm(x, (6,), a, b), [image, gamma, beta]),
            "resize up": case(resize(9, 8), [image]),
            "resize down": case(resize(2, 3), [image]),
        },
    }
    path = Path(__file__).with_name("vision.json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(path, path.stat().st_size)


main()
