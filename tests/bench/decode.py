"""Reports per second of our beam search beside a plain PyTorch one that runs the whole prefix again for every word.

Random weights of R2Gen's published sizes under its public names go to both: one file, imported by `d2r import-weights r2gen`.
The ids must be equal. Writes bench-results/decode.json.

    python tests/bench/decode.py --d2r D2R --speed TARGET/examples/decode_speed --out bench-results/decode.json
"""

import argparse
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from machine import machine
from safetensors.torch import save_file
from torchvision.models import resnet101

WIDTH, HIDDEN, HEADS, LAYERS, SLOTS, VISUAL = 512, 512, 8, 3, 3, 2048
MODEL = "encoder_decoder.model"
CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def weights(words: int) -> dict[str, torch.Tensor]:
    """A state dict with R2Gen's names."""
    torch.manual_seed(5)
    out = {}

    def linear(name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        bound = gain * math.sqrt(6 / (inputs + outputs))
        out[f"{name}.weight"] = torch.empty(outputs, inputs).uniform_(-bound, bound)
        out[f"{name}.bias"] = torch.empty(outputs).uniform_(-0.05, 0.05)

    def attention(name: str) -> None:
        for i in range(4):
            linear(f"{name}.linears.{i}", WIDTH, WIDTH)

    def norm(name: str) -> None:
        out[f"{name}.gamma"], out[f"{name}.beta"] = torch.ones(WIDTH), torch.zeros(WIDTH)

    linear("encoder_decoder.att_embed.0", VISUAL, WIDTH)
    # Large logits keep candidates apart, and a report that does not end is as long as it may be.
    linear("encoder_decoder.logit", WIDTH, words, gain=8.0)
    out["encoder_decoder.logit.bias"][0] = -1e4
    out[f"{MODEL}.tgt_embed.0.lut.weight"] = torch.randn(words, WIDTH) * 0.1
    attention(f"{MODEL}.rm.attn")
    for name, outputs in (("mlp.0", WIDTH), ("mlp.2", WIDTH), ("W", 2 * WIDTH), ("U", 2 * WIDTH)):
        linear(f"{MODEL}.rm.{name}", WIDTH, outputs)
    norm(f"{MODEL}.encoder.norm")
    norm(f"{MODEL}.decoder.norm")
    for i in range(LAYERS):
        for stack, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "src_attn"])):
            layer = f"{MODEL}.{stack}.layers.{i}"
            for name in attentions:
                attention(f"{layer}.{name}")
            linear(f"{layer}.feed_forward.w_1", WIDTH, HIDDEN)
            linear(f"{layer}.feed_forward.w_2", HIDDEN, WIDTH)
            for n in range(len(attentions) + 1):
                norm(f"{layer}.sublayer.{n}.norm")
                for kind in ("mlp_gamma", "mlp_beta") if stack == "decoder" else ():
                    linear(f"{layer}.sublayer.{n}.norm.{kind}.0", SLOTS * WIDTH, WIDTH)
                    linear(f"{layer}.sublayer.{n}.norm.{kind}.2", WIDTH, WIDTH)
    for name, tensor in resnet101(weights=None).state_dict().items():
        first, _, rest = name.partition(".")
        if first != "fc":
            out[f"visual_extractor.model.{CHILDREN[first]}.{rest}"] = tensor
    return out


class Straight:
    """R2Gen's transformer from its equations; nothing is kept from one word to the next."""

    def __init__(self, parameters: dict[str, torch.Tensor], longest: int) -> None:
        self.p = parameters
        angle = torch.arange(longest)[:, None] * torch.exp(-torch.arange(0, WIDTH, 2) * math.log(10000) / WIDTH)
        self.positions = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def norm(self, name: str, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        gamma, beta = self.p[f"{name}.gamma"], self.p[f"{name}.beta"]
        if memory is not None:
            gamma = gamma + self.linear(f"{name}.mlp_gamma.2", self.linear(f"{name}.mlp_gamma.0", memory).relu())
            beta = beta + self.linear(f"{name}.mlp_beta.2", self.linear(f"{name}.mlp_beta.0", memory).relu())
        return gamma * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + beta

    def attention(self, name: str, query: torch.Tensor, source: torch.Tensor, causal: bool = False) -> torch.Tensor:
        def split(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)

        q, k, v = (split(self.linear(f"{name}.linears.{i}", x)) for i, x in enumerate((query, source, source)))
        scores = q @ k.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)
        if causal:
            length = scores.shape[-1]
            scores = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -1e9)
        return self.linear(f"{name}.linears.3", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def feed_forward(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.linear(f"{name}.w_2", self.linear(f"{name}.w_1", x).relu())

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        x = self.linear("encoder_decoder.att_embed.0", features).relu()
        for i in range(LAYERS):
            layer = f"{MODEL}.encoder.layers.{i}"
            normed = self.norm(f"{layer}.sublayer.0.norm", x)
            x = x + self.attention(f"{layer}.self_attn", normed, normed)
            x = x + self.feed_forward(f"{layer}.feed_forward", self.norm(f"{layer}.sublayer.1.norm", x))
        return self.norm(f"{MODEL}.encoder.norm", x)

    def memories(self, words: torch.Tensor) -> torch.Tensor:
        rm, states = f"{MODEL}.rm", []
        memory = torch.eye(SLOTS, WIDTH).expand(words.shape[0], -1, -1)
        for t in range(words.shape[1]):
            word = words[:, t : t + 1]
            z = memory + self.attention(f"{rm}.attn", memory, torch.cat([memory, word], 1))
            z = z + self.linear(f"{rm}.mlp.2", self.linear(f"{rm}.mlp.0", z).relu()).relu()
            keep, forget = (self.linear(f"{rm}.W", word) + self.linear(f"{rm}.U", memory.tanh())).sigmoid().chunk(2, -1)
            memory = keep * z.tanh() + forget * memory
            states.append(memory.flatten(1))
        return torch.stack(states, 1)

    def log_probs(self, encoded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Of the word after the prefix `ids`."""
        x = self.p[f"{MODEL}.tgt_embed.0.lut.weight"][ids] * math.sqrt(WIDTH) + self.positions[: ids.shape[1]]
        memory = self.memories(x)
        for i in range(LAYERS):
            layer = f"{MODEL}.decoder.layers.{i}"
            normed = self.norm(f"{layer}.sublayer.0.norm", x, memory)
            x = x + self.attention(f"{layer}.self_attn", normed, normed, causal=True)
            normed = self.norm(f"{layer}.sublayer.1.norm", x, memory)
            x = x + self.attention(f"{layer}.src_attn", normed, encoded)
            x = x + self.feed_forward(f"{layer}.feed_forward", self.norm(f"{layer}.sublayer.2.norm", x, memory))
        return self.linear("encoder_decoder.logit", self.norm(f"{MODEL}.decoder.norm", x)[:, -1]).log_softmax(-1)

    @torch.no_grad()
    def beam_search(self, features: torch.Tensor, beam: int, longest: int) -> list[list[int]]:
        """Reports that do not end: the best beam after the last word."""
        encoded, count = self.encode(features), features.shape[0]
        ids, sums = torch.zeros(count, 1, dtype=torch.long), torch.zeros(count, 1)
        for _ in range(longest):
            width = ids.shape[0] // count
            found = self.log_probs(encoded.repeat_interleave(width, 0), ids).view(count, width, -1)
            words = found.shape[2]
            sums, index = (sums[..., None] + found).flatten(1).topk(beam, 1)
            rows = (index // words + torch.arange(count)[:, None] * width).flatten()
            ids = torch.cat([ids[rows], (index % words).view(-1, 1)], 1)
        return ids.view(count, beam, -1)[:, 0, 1:].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--speed", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beam", type=int, default=3)
    parser.add_argument("--words", type=int, default=4400)
    parser.add_argument("--longest", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=98)
    args = parser.parse_args()
    parameters = weights(args.words + 1)
    features = torch.randn(args.batch, args.tokens, VISUAL).relu()
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder, name)) for name in ("weights.safetensors", "words.json", "in.safetensors", "runs")}
        save_file({k: v.contiguous() for k, v in parameters.items()}, files["weights.safetensors"])
        save_file({"att_feats": features}, files["in.safetensors"])
        words = sorted(["<unk>", *(f"w{i:05}" for i in range(args.words - 1))])
        Path(files["words.json"]).write_text(json.dumps(words))
        command = [args.d2r, "import-weights", "r2gen", "--preset", "r2gen_mimic", "--quiet"]
        command += ["--weights", files["weights.safetensors"], "--vocabulary", files["words.json"], "--runs", files["runs"]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (run,) = Path(files["runs"]).iterdir()
        command = [args.speed, "--run", str(run), "--inputs", files["in.safetensors"]]
        command += ["--beam", str(args.beam), "--max-words", str(args.longest)]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    straight = Straight(parameters, args.longest)
    start = time.perf_counter()
    ids = straight.beam_search(features, args.beam, args.longest)
    seconds = time.perf_counter() - start
    assert ids == ours["ids"], "the ids differ"
    theirs = args.batch / seconds
    figures = {"reports_per_s.ours": ours["reports_per_s"], "reports_per_s.straight": theirs}
    ratios = {"decode": ours["reports_per_s"] / theirs}
    print(f"ours {ours['reports_per_s']:.3f} straight {theirs:.3f} reports/s, ratio {ratios['decode']:.1f}; {args.batch} equal reports")
    result = {
        "figures": figures,
        "ratios": ratios,
        "machine": machine(),
        "versions": {"torch": torch.__version__},
        "command": "make bench-decode",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
