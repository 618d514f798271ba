"""Golden values of `d2r_contracts::report_text::clean`.

The rules are written down here a second time, with Python's own `str.replace`, `str.strip`, `str.lower` and
`re.sub`, and applied to hand-made and random texts full of their corner cases.

Run: python tests/python/golden/report_text.py      (writes data-contracts/golden/report_text.json)
"""

import json
import pathlib
import platform
import random
import re

OUT = pathlib.Path(__file__).parents[3] / "data-contracts" / "golden" / "report_text.json"
SEED = 7

PASSES = {
    "iu_xray": [("..", ".", 3)],
    "mimic_cxr": [("\n", " ", 1), ("__", "_", 7), ("  ", " ", 6), ("..", ".", 8)],
}
NUMBERING = (
    [("1. ", "", 1)]
    + [(f". {d}. ", ". ", 1) for d in (2, 3, 4, 5)]
    + [(f" {d}. ", ". ", 1) for d in (2, 3, 4, 5)]
)
# The hyphen makes a range from ":" to "[".
DROPPED = re.compile(r"[.,?;*!%^&_+():-\[\]{}]")


def clean(report, rules):
    for old, new, times in PASSES[rules] + NUMBERING:
        for _ in range(times):
            report = report.replace(old, new)
    sentences = report.strip().lower().split(". ")
    cleaned = []
    for sentence in sentences:
        for quote in ('"', "/", "\\", "'"):
            sentence = sentence.replace(quote, "")
        cleaned.append(DROPPED.sub("", sentence.strip().lower()))
    return " ".join((" . ".join(cleaned) + " .").split())


HAND_MADE = [
    "",
    " ",
    ".",
    ". ",
    "...",
    "The heart is normal in size. The lungs are clear.",
    "1. No acute disease. 2. Stable nodule. 3. Old fracture.",
    "11. Eleven. L1. Fracture of L1. T11. end",
    "1. 1. 1. x",
    "No change. 2. 3. 4. 5. 6. done",
    " 2. first 3. second 4. third 5. fourth 6. fifth",
    "A 2.5 cm nodule, 3 x 4 mm.",
    "Compared to ___, the ____ heart _____ is ________ stable.",
    "line one\nline two\n\nline three\r\nline four",
    "two  blanks   three    four     many                 end",
    "dots.. dots... dots.... dots..... .......... end",
    "UPPER Case: Mixed; semi, comma?! (parens) [brackets] {braces}",
    "keeps - hyphen # hash $ dollar | pipe ~ tilde ` tick",
    "drops < less > more = equal @ at ^ caret & and % percent * star + plus",
    "quotes \" ' and / slash \\ back",
    "right-sided PICC line, tip at T7/T8.",
    "\u00c9panchement pleural. \u0130stanbul. STRASSE \u00df \u1e9e. \u039f\u0394\u039f\u03a3",
    "tab\tvertical\x0bform\x0cfile\x1cgroup\x1drecord\x1eunit\x1fend",
    "nbsp\u00a0thin\u2009ideographic\u3000zero\u200bwidth\u2028line\u2029paragraph\u0085next",
    "\x1f strip me \x1c. \x1d me too \x1e",
    "e.g. this. i.e. that. Dr. Who. vs. a.m. p.m.",
    "ends with stop and blank. ",
    " . . . ",
    "a . b . c",
    ". 2. x",
    "x. 2. y. 2. z",
    "x 2. y 2. z",
    "_ __ ___ ____ _____ ______ _______ ________",
    "\U0001f600 smile. \U00010400 deseret. \U0001d400 bold",
]

PIECES = [
    "heart", "Lungs", "LEFT", "No", "L1", "T12", "2.5", "3", "1. ", "2. ", ". 3. ", " 4. ", "5. ", ". ", ".", "..",
    "....", " ", "  ", "      ", "\n", "\n\n", "_", "__", "_______", ",", ";", ":", "-", "/", "\\", "'", '"', "(", ")",
    "[", "]", "{", "}", "?", "!", "%", "&", "*", "+", "^", "<", "=", ">", "@", "#", "$", "|", "~", "`", "\t", "\u00a0",
    "\x1c", "\x1f", "\u00c9", "\u0130", "\u00df", "\u03a3", "\u2028", "effusion", "stable", "11. ", "a.b",
]


def main():
    rng = random.Random(SEED)
    texts = HAND_MADE + ["".join(rng.choices(PIECES, k=rng.randint(1, 22))) for _ in range(190)]
    cases = [[text, clean(text, "iu_xray"), clean(text, "mimic_cxr")] for text in texts]
    document = {
        "generator": "tests/python/golden/report_text.py",
        "python": platform.python_version(),
        "seed": SEED,
        "columns": ["report", "iu_xray", "mimic_cxr"],
        "cases": cases,
    }
    OUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(OUT.name, len(cases), "cases", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
