"""Golden values of R2Gen's decoding options and of its training step, on the equations of `r2gen.py` in double precision.

Diverse beam search, length penalties, several reports per image, greedy decoding with the trigram rule, and sampling with given random
numbers; gradients of the loss, and three steps of Adam (AMSGrad, coupled decay, clipped values), the optimizer being PyTorch's own.
Nothing is kept between words: the whole prefix runs again. Needs torch, numpy, safetensors.

    python tests/python/golden/r2gen_decoding.py        writes batch/golden/reporter/r2gen_decoding.safetensors
"""

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import r2gen
from r2gen import BATCH, LENGTH, LONGEST, P, TOKENS, VISUAL, WORDS, decode, encode, uniform

OUT = Path(__file__).parents[3] / "batch/golden/reporter/r2gen_decoding.safetensors"
END_BIAS = "encoder_decoder.logit.bias"
LEARNED = {
    "lut": "encoder_decoder.model.tgt_embed.0.lut.weight",
    "memory_gate": "encoder_decoder.model.rm.W.weight",
    "mlp_gamma": "encoder_decoder.model.decoder.layers.0.sublayer.0.norm.mlp_gamma.0.weight",
}
GAPS = []


def wu(alpha):
    return lambda length, total: total / ((5 + length) / 6) ** alpha


def average(length, total):
    return total / length


def plain(length, total):
    return total


def next_words(encoded, present, prefixes):
    """Log-probabilities of the next word after each prefix, [n, WORDS]."""
    ids = torch.tensor([[0, *words] for words in prefixes])
    n = len(prefixes)
    return decode(encoded.expand(n, -1, -1), present.expand(n, -1), ids)[0][:, -1]


def beam_search(encoded, present, width, groups=1, diversity=0.5, score=plain, longest=LONGEST):
    """The done lists of each group, the best first; a finished beam goes on 1000 worse. `encoded` [1, S, d]."""
    each = width // groups
    beams = [[([], 0.0)] for _ in range(groups)]
    done = [[] for _ in range(groups)]
    for t in range(longest):
        chosen = torch.zeros(WORDS, dtype=torch.float64)
        for g in range(groups):
            said = next_words(encoded, present, [words for words, _ in beams[g]])
            candidates = []
            for (words, total), row in zip(beams[g], said):
                values = (total + row - diversity * chosen).tolist()
                candidates += [(value, [*words, w]) for w, value in enumerate(values)]
            candidates.sort(key=lambda c: -c[0])
            GAPS.extend(a[0] - b[0] for a, b in zip(candidates[:each], candidates[1 : each + 1]))
            beams[g] = []
            for total, words in candidates[:each]:
                chosen[words[-1]] += 1
                if words[-1] == 0 or t == longest - 1:
                    done[g].append((score(t + 1, total), total, words))
                    total -= 1000
                beams[g].append((words, total))
    ranked = [sorted(d, key=lambda d: -d[0])[:each] for d in done]
    for group in ranked:
        GAPS.extend(a[0] - b[0] for a, b in zip(group, group[1:]))
    return ranked


def greedy(encoded, present, halvings, longest):
    """The most probable word each time; a trigram loses `halvings` times 0.693 for each time it stands in the report already."""
    words, hits = [], 0
    for t in range(longest):
        row = next_words(encoded, present, [words])[0].clone()
        for i in range(t - 2):
            if words[i : i + 2] == words[t - 2 : t] and halvings:
                row[words[i + 2]] -= 0.693 * halvings
                hits += 1
        best = row.topk(2)
        GAPS.append((best.values[0] - best.values[1]).item())
        words.append(best.indices[0].item())
        if words[-1] == 0:
            break
    return words, hits


def drawn(row, number, top_k, top_p, temperature):
    """The word at which the summed probabilities, in the order of the words, pass the number."""
    probs = (row / temperature).softmax(-1)
    order = probs.argsort(descending=True).tolist()
    kept, total = [], 0.0
    for rank, word in enumerate(order):
        if (top_k and rank >= top_k) or (top_p < 1 and rank > 0 and total >= top_p):
            break
        kept.append(word)
        total += probs[word].item()
    mass, whole = 0.0, sum(probs[w].item() for w in kept)
    for word in sorted(kept):
        mass += probs[word].item()
        if mass > number * whole:
            return word
    raise AssertionError("a number below 1 falls on a word")


def padded(reports, longest):
    """Ids up to the first end, padded with 0."""
    out = torch.zeros(len(reports), longest, dtype=torch.int64)
    for row, words in enumerate(reports):
        words = words[: words.index(0)] if 0 in words else words
        out[row, : len(words)] = torch.tensor(words, dtype=torch.int64)
    return out


def decoding(encoded, present):
    out = {}

    def put(name, per_image):
        """`per_image`: for each image its reports as (score, sum, words)."""
        out[f"{name}.ids"] = torch.stack([padded([w for _, _, w in reports], LONGEST) for reports in per_image])
        out[f"{name}.sums"] = torch.tensor([[s for _, s, _ in reports] for reports in per_image], dtype=torch.float64)

    def each(**options):
        found = [beam_search(encoded[b : b + 1], present[b : b + 1], **options) for b in range(BATCH)]
        # The best of each group, then the second of each.
        return [[group[rank] for rank in range(len(groups[0])) for group in groups] for groups in found]

    # End tokens that are likely enough for short and long reports to compete.
    P[END_BIAS][0] += 1.2
    put("diverse", each(width=9, groups=3, diversity=0.5))
    put("wu", each(width=3, score=wu(2.0)))
    put("average", each(width=3, score=average))
    put("three_best", each(width=3))
    for penalty in ("wu", "average"):
        assert not torch.equal(out[f"{penalty}.ids"], out["three_best.ids"]), f"{penalty} must matter"
    groups = out["diverse.ids"][:, :3]
    assert not torch.equal(groups[:, 0], groups[:, 1]), "the groups must differ"

    # No end token, so that repeats occur.
    P[END_BIAS][0] -= 1.2 + 4.0
    texts, hits = zip(*[greedy(encoded[b : b + 1], present[b : b + 1], 2.0, 40) for b in range(BATCH)])
    free = [greedy(encoded[b : b + 1], present[b : b + 1], 0.0, 40)[0] for b in range(BATCH)]
    P[END_BIAS][0] += 4.0
    print("trigram rule met", hits, "times; without it", [len(f) for f in free], "with", [len(t) for t in texts])
    assert sum(hits) > 0 and list(texts) != free, "the rule must matter"
    out["trigrams.ids"] = padded(list(texts), 40)

    rows = next_words(encoded[:1], present[:1], [[3], [7], [20], [41]]).repeat(6, 1)
    numbers = torch.from_numpy((uniform(1003, rows.shape[0]) + 1) / 2)
    out["drawn.log_probs"], out["drawn.numbers"] = rows.float(), numbers
    rows = rows.float().double()
    for name, options in {"all": (0, 1.0, 1.0), "top_k": (5, 1.0, 1.0), "top_p": (0, 0.7, 1.0), "warm": (8, 0.9, 1.7)}.items():
        words = [drawn(row, number.item(), *options) for row, number in zip(rows, numbers)]
        out[f"drawn.{name}"] = torch.tensor(words)
    return out


def training(x, present, ids):
    names = sorted(P)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    kept = torch.ones_like(targets, dtype=torch.float64)
    kept[1, 9:] = 0

    def loss():
        log_probs, _ = decode(encode(x, present), present, inputs)
        nll = -log_probs.gather(2, targets[..., None])[..., 0]
        return (nll * kept).sum() / kept.sum()

    for name in names:
        P[name] = P[name].detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([P[n] for n in names], lr=1e-2, weight_decay=5e-3, amsgrad=True)
    out = {}
    for step in range(3):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        out[f"loss.{step}"] = value.detach()
        if step == 0:
            out |= {f"gradient.{short}": P[name].grad.clone() for short, name in LEARNED.items()}
        torch.nn.utils.clip_grad_value_([P[n] for n in names], 0.1)
        optimizer.step()
    return out | {f"stepped.{short}": P[name].detach().clone() for short, name in LEARNED.items()}


def main():
    x = torch.from_numpy(uniform(1000, BATCH * TOKENS * VISUAL).reshape(BATCH, TOKENS, VISUAL))
    x = x.to(torch.float32).to(torch.float64)
    present = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    present[1, 4:] = False
    ids = torch.from_numpy(((uniform(1001, BATCH * LENGTH) + 1) / 2 * (WORDS - 1)).astype(np.int64) + 1)
    ids = ids.reshape(BATCH, LENGTH)
    ids[:, 0] = 0
    ids[1, 9:] = 0
    with torch.no_grad():
        golden = decoding(encode(x, present), present)
    smallest = min(g for g in GAPS if g > 0)
    assert smallest > 1e-4, f"a tie within {smallest}: choose other numbers"
    # All tokens are present: the root of a row without spread has no gradient.
    golden |= training(x, torch.ones_like(present), ids)
    # Gradients and steps are compared in single precision.
    golden = {k: (v.float() if k.split(".")[0] in ("gradient", "stepped", "loss") else v).contiguous() for k, v in golden.items()}
    save_file(golden, OUT, {"generator": f"torch {torch.__version__}, numpy {np.__version__}"})
    print(OUT, OUT.stat().st_size, "bytes; smallest gap", smallest)
    for name in ("diverse", "wu", "average", "three_best", "trigrams"):
        print(name, golden[f"{name}.ids"].tolist()[0][:3])
    print([round(golden[f"loss.{i}"].item(), 5) for i in range(3)], math.prod(golden["gradient.lut"].shape))


if __name__ == "__main__":
    main()
