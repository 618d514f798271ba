"""Expected BLEU, ROUGE-L and CIDEr-D for batch/golden/eval/text_metrics.json, by pycocoevalcap.
Run: python tests/python/golden/text_metrics.py (pycocoevalcap 1.2)."""

import contextlib
import importlib.metadata
import io
import json
import pathlib
import random

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

OUT = pathlib.Path(__file__).parents[3] / "batch/golden/eval/text_metrics.json"
SENTENCES = [
    "the heart is normal in size .", "the heart is enlarged .", "the lungs are clear .",
    "there is a small left pleural effusion .", "there is a large right pneumothorax .",
    "no pneumothorax is seen .", "no pleural effusion or pneumothorax .",
    "a nodule is seen in the right upper lobe .", "the mediastinum is unremarkable .",
    "bony structures are intact .", "mild edema is present .", "the aorta is tortuous .",
]


def pairs():
    rng = random.Random(9223)
    out = [("", ["the lungs are clear ."]), ("clear", ["the lungs are clear ."]), ("clear", ["clear"]),
           ("the lungs are clear .", [""]), ("", [""]), ("a  b", ["a b"]), ("the the the the", ["the lungs", "the the"]),
           ("a b c d", ["a b c", "a b c d e"])]
    while len(out) < 50:
        reference = rng.sample(SENTENCES, rng.randint(2, 7))
        candidate = [s for s in reference if rng.random() < 0.7] + rng.sample(SENTENCES, rng.randint(0, 3))
        refs = [" ".join(reference)]
        if rng.random() < 0.2:
            refs.append(" ".join(rng.sample(SENTENCES, 3)))
        out.append((" ".join(candidate), refs))
    return out


def scores(sample):
    res = {i: [h] for i, (h, _) in enumerate(sample)}
    gts = {i: r for i, (_, r) in enumerate(sample)}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
        rouge = Rouge().compute_score(gts, res)
        # The reference fails on a set without a single reference word.
        some = any(r.split() for refs in gts.values() for r in refs)
        cider = Cider().compute_score(gts, res)[0] if some else 0.0
    return {"bleu": [float(b) for b in bleu], "rouge_l": float(rouge[0]),
            "rouge_each": [float(v) for v in rouge[1]], "cider": float(cider)}


def main():
    all_pairs = pairs()
    sets = {"all": all_pairs, "one": all_pairs[10:11], "one_word": all_pairs[2:3], "both_empty": all_pairs[4:5],
            "long_guess": [("a b c d e f", ["a b c"])]}
    versions = {p: importlib.metadata.version(p) for p in ("pycocoevalcap",)}
    out = {"versions": versions, "sets": []}
    for name, sample in sets.items():
        out["sets"].append({"name": name, "hypotheses": [h for h, _ in sample], "references": [r for _, r in sample],
                            "expected": scores(sample)})
    text = json.dumps(out, indent=None, separators=(",", ":"))
    OUT.write_text(text.replace('{"name"', '\n{"name"') + "\n")
    print(OUT, len(text))


main()
