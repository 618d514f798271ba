"""Golden values of the report transformer, from the equations of R2Gen (Chen et al. 2020).

Written from the paper's equations and the published hyper-parameters, in double precision and without any of the
shortcuts of the Rust code: no kept keys, no fused layers, the whole prefix again for every word. Parameters and
inputs come from a formula that the Rust test repeats, so that the fixture holds results only.

    python tests/python/golden/r2gen.py        writes batch/golden/reporter/r2gen.json
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

WIDTH, HIDDEN, HEADS, LAYERS, SLOTS, WORDS, VISUAL = 32, 64, 4, 2, 3, 51, 16
BATCH, TOKENS, LENGTH, LONGEST = 2, 6, 12, 12
OUT = Path(__file__).parents[3] / "batch/golden/reporter/r2gen.json"


def uniform(stream: int, count: int) -> np.ndarray:
    """`count` numbers in [-1, 1) of a counter-based stream."""
    with np.errstate(over="ignore"):
        x = np.uint64(stream) * np.uint64(1000003) + np.arange(count, dtype=np.uint64)
        x = x * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        x ^= x >> np.uint64(33)
        x *= np.uint64(0xFF51AFD7ED558CCD)
        x ^= x >> np.uint64(33)
    return (x >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def shapes() -> dict[str, tuple[int, ...]]:
    d, model = WIDTH, "encoder_decoder.model"
    out = {}

    def linear(name, inputs, outputs):
        out[f"{name}.weight"], out[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name):
        out[f"{name}.gamma"] = out[f"{name}.beta"] = (d,)

    def attention(name):
        for i in range(4):
            linear(f"{name}.linears.{i}", d, d)

    def feed_forward(name):
        linear(f"{name}.w_1", d, HIDDEN)
        linear(f"{name}.w_2", HIDDEN, d)

    linear("encoder_decoder.att_embed.0", VISUAL, d)
    linear("encoder_decoder.logit", d, WORDS)
    out[f"{model}.tgt_embed.0.lut.weight"] = (WORDS, d)
    attention(f"{model}.rm.attn")
    linear(f"{model}.rm.mlp.0", d, d)
    linear(f"{model}.rm.mlp.2", d, d)
    linear(f"{model}.rm.W", d, 2 * d)
    linear(f"{model}.rm.U", d, 2 * d)
    norm(f"{model}.encoder.norm")
    norm(f"{model}.decoder.norm")
    for i in range(LAYERS):
        for stack, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "src_attn"])):
            layer = f"{model}.{stack}.layers.{i}"
            for name in attentions:
                attention(f"{layer}.{name}")
            feed_forward(f"{layer}.feed_forward")
            for n in range(len(attentions) + 1):
                norm(f"{layer}.sublayer.{n}.norm")
                if stack == "decoder":
                    for mlp in ("mlp_gamma", "mlp_beta"):
                        linear(f"{layer}.sublayer.{n}.norm.{mlp}.0", SLOTS * d, d)
                        linear(f"{layer}.sublayer.{n}.norm.{mlp}.2", d, d)
    return out


def parameters() -> dict[str, torch.Tensor]:
    out = {}
    for index, (name, shape) in enumerate(sorted(shapes().items())):
        values = uniform(index + 1, math.prod(shape))
        if name.endswith("gamma"):
            values = 1.0 + 0.1 * values
        elif name.endswith("logit.weight"):
            values = 0.5 * values
        elif name.endswith("logit.bias"):
            # A likely end token, so that reports of different lengths compete.
            values[0] += 1.6
        else:
            values = 0.3 * values
        # What single precision holds, so that both sides start from the same numbers.
        out[name] = torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))
    return out


P = parameters()
MODEL = "encoder_decoder.model"


def linear(name, x):
    return x @ P[f"{name}.weight"].T + P[f"{name}.bias"]


def standardised(x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).sum(-1, keepdim=True) / (x.shape[-1] - 1)
    return (x - mean) / (variance.sqrt() + 1e-6)


def norm(name, x):
    return P[f"{name}.gamma"] * standardised(x) + P[f"{name}.beta"]


def conditional_norm(name, x, memory):
    def mlp(kind):
        return linear(f"{name}.{kind}.2", linear(f"{name}.{kind}.0", memory).relu())

    gamma, beta = P[f"{name}.gamma"] + mlp("mlp_gamma"), P[f"{name}.beta"] + mlp("mlp_beta")
    return gamma * standardised(x) + beta


def attention(name, query, source, mask):
    """`mask` [B, T, S], true where visible. Returns the output and the weights [B, heads, T, S]."""
    outputs, weights = [], []
    q, k, v = (linear(f"{name}.linears.{i}", x) for i, x in enumerate((query, source, source)))
    part = WIDTH // HEADS
    for h in range(HEADS):
        cut = slice(h * part, (h + 1) * part)
        scores = q[..., cut] @ k[..., cut].transpose(1, 2) / math.sqrt(part)
        scores = torch.where(mask, scores, torch.full_like(scores, -1e9))
        weights.append(scores.softmax(-1))
        outputs.append(weights[-1] @ v[..., cut])
    return linear(f"{name}.linears.3", torch.cat(outputs, -1)), torch.stack(weights, 1)


def feed_forward(name, x):
    return linear(f"{name}.w_2", linear(f"{name}.w_1", x).relu())


def encode(x, present):
    x = linear("encoder_decoder.att_embed.0", x).relu() * present[..., None]
    mask = present[:, None, :].expand(-1, x.shape[1], -1)
    for i in range(LAYERS):
        layer = f"{MODEL}.encoder.layers.{i}"
        normed = norm(f"{layer}.sublayer.0.norm", x)
        x = x + attention(f"{layer}.self_attn", normed, normed, mask)[0]
        x = x + feed_forward(f"{layer}.feed_forward", norm(f"{layer}.sublayer.1.norm", x))
    return norm(f"{MODEL}.encoder.norm", x)


def memory_step(memory, word):
    """`memory` [B, slots, d], `word` [B, d]."""
    rm = f"{MODEL}.rm"
    source = torch.cat([memory, word[:, None]], 1)
    everything = torch.ones(memory.shape[0], SLOTS, SLOTS + 1, dtype=torch.bool)
    z = memory + attention(f"{rm}.attn", memory, source, everything)[0]
    z = z + linear(f"{rm}.mlp.2", linear(f"{rm}.mlp.0", z).relu()).relu()
    gates = linear(f"{rm}.W", word)[:, None] + linear(f"{rm}.U", memory.tanh())
    keep, forget = gates[..., :WIDTH].sigmoid(), gates[..., WIDTH:].sigmoid()
    return keep * z.tanh() + forget * memory


def memories(words):
    memory = torch.eye(SLOTS, WIDTH, dtype=torch.float64).expand(words.shape[0], -1, -1)
    states = []
    for t in range(words.shape[1]):
        memory = memory_step(memory, words[:, t])
        states.append(memory.reshape(words.shape[0], -1))
    return torch.stack(states, 1)


def positions(length):
    table = torch.zeros(length, WIDTH, dtype=torch.float64)
    for p in range(length):
        for c in range(0, WIDTH, 2):
            angle = p * math.exp(-c * math.log(10000) / WIDTH)
            table[p, c], table[p, c + 1] = math.sin(angle), math.cos(angle)
    return table


def decode(encoded, present, ids):
    """Log-probabilities [B, T, words] and the last layer's cross-attention, mean over heads."""
    length = ids.shape[1]
    x = P[f"{MODEL}.tgt_embed.0.lut.weight"][ids] * math.sqrt(WIDTH) + positions(length)
    memory = memories(x)
    keys = ids > 0
    keys[:, 0] = True
    seen = keys[:, None, :] & torch.ones(length, length, dtype=torch.bool).tril()
    source = present[:, None, :].expand(-1, length, -1)
    for i in range(LAYERS):
        layer = f"{MODEL}.decoder.layers.{i}"
        normed = conditional_norm(f"{layer}.sublayer.0.norm", x, memory)
        x = x + attention(f"{layer}.self_attn", normed, normed, seen)[0]
        normed = conditional_norm(f"{layer}.sublayer.1.norm", x, memory)
        mixed, weights = attention(f"{layer}.src_attn", normed, encoded, source)
        x = x + mixed
        x = x + feed_forward(f"{layer}.feed_forward", conditional_norm(f"{layer}.sublayer.2.norm", x, memory))
    x = norm(f"{MODEL}.decoder.norm", x)
    return linear("encoder_decoder.logit", x).log_softmax(-1), weights.mean(1)


GAPS = []


def search(encoded, present, width):
    """Beam search of one image, as published: a finished beam stays, 1000 worse. Returns ids (end cut) and sum."""
    beams, done = [([], 0.0)], []
    for t in range(LONGEST):
        candidates = []
        for words, total in beams:
            ids = torch.tensor([[0, *words]])
            log_probs = decode(encoded[None], present[None], ids)[0][0, -1]
            candidates += [(total + log_probs[w].item(), [*words, w]) for w in range(WORDS)]
        candidates.sort(key=lambda c: -c[0])
        alive = [c[0] for c in candidates if c[0] > -500]
        GAPS.extend(a - b for a, b in zip(alive[:width], alive[1 : width + 1]))
        beams = []
        for total, words in candidates[:width]:
            if words[-1] == 0 or t == LONGEST - 1:
                done.append((total, words))
                total -= 1000
            beams.append((words, total))
    total, words = max(done, key=lambda d: d[0])
    return {"words": [w for w in words if w], "sum": total}


def main():
    x = torch.from_numpy(uniform(1000, BATCH * TOKENS * VISUAL).reshape(BATCH, TOKENS, VISUAL))
    x = x.to(torch.float32).to(torch.float64)
    present = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    present[1, 4:] = False
    ids = torch.from_numpy(((uniform(1001, BATCH * LENGTH) + 1) / 2 * (WORDS - 1)).astype(np.int64) + 1)
    ids = ids.reshape(BATCH, LENGTH)
    ids[:, 0] = 0
    ids[1, 9:] = 0
    inputs, targets = ids[:, :-1], ids[:, 1:]
    kept = torch.ones_like(ids, dtype=torch.float64)
    kept[1, 10:] = 0
    mask = kept[:, 1:]
    words = torch.from_numpy(uniform(1002, 12 * WIDTH).reshape(1, 12, WIDTH)).to(torch.float32).to(torch.float64)

    encoded = encode(x, present)
    log_probs, attended = decode(encoded, present, inputs)
    nll = -log_probs.gather(2, targets[..., None])[..., 0]
    states = memories(words)
    normed = norm(f"{MODEL}.encoder.norm", words)
    conditional = conditional_norm(f"{MODEL}.decoder.layers.1.sublayer.2.norm", words, states)
    query = words[:, :4]
    masked = torch.ones(1, 4, 12, dtype=torch.bool).tril()
    mixed, weights = attention(f"{MODEL}.encoder.layers.0.self_attn", query, words, masked)

    def plain(t):
        return [float(f"{v:.8g}") for v in t.flatten().tolist()]

    golden = {
        "generator": f"torch {torch.__version__}, numpy {np.__version__}",
        "norm": plain(normed[0, :2]),
        "conditional_norm": plain(conditional[0, -2:]),
        "attention": plain(mixed),
        "attention_weights": plain(weights[0, :, 3]),
        "memory": {str(t): plain(states[0, t - 1]) for t in (1, 6, 12)},
        "encoded": plain(encoded),
        "log_probs": plain(log_probs),
        "cross_attention": plain(attended[:, -1]),
        "loss": ((nll * mask).sum() / mask.sum()).item(),
        "beam3": [search(encoded[b], present[b], 3) for b in range(BATCH)],
        "greedy": [search(encoded[b], present[b], 1) for b in range(BATCH)],
    }
    assert min(GAPS) > 1e-4, f"a tie within {min(GAPS)}: choose other numbers"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden) + "\n")
    print(OUT, OUT.stat().st_size, "bytes; smallest gap", min(GAPS))
    print({k: golden[k] for k in ("loss", "beam3", "greedy")})


if __name__ == "__main__":
    main()
