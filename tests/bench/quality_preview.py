"""Preview model beside the report model: the share of figures that distillation keeps, on the same held-out phantoms.

Takes a finished folder of `d2r pipeline` (`--demo`) or makes one with `--config`, distils its report model, exports the bundle, writes
reports of the test split with both and evaluates them with `d2r evaluate`. Shares have paired bootstrap intervals over studies.
BLEU-4 and label F1 are computed here from the tables as well and must equal those of `d2r evaluate`. Writes
bench-results/quality-preview.json, prints a Markdown table, and ends with exit code 1 when a figure is below its required value.

    python tests/bench/quality_preview.py --d2r D2R --out bench-results/quality-preview.json [--demo DIR] [--bundle DIR]
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from machine import libtorch, machine

DATASET, SPLIT, SECTION = "mimic", "test", "findings"
# Images without reports: the report model writes reports of them for the distillation.
UNREPORTED = "vindr"
DRAWS = 1000
# Required figures.
BARS = {"bleu4_kept": 0.90, "label_f1_kept": 0.85}
MODEL_BYTES_MAX = 4_000_000
# Average precision needs boxes with low scores too, as of the detector.
SCORE_FLOOR = 0.02


class Demo:
    """A finished demo, which is not changed, and a working folder."""

    def __init__(self, d2r: str, config: Path, seed: int | None, demo: Path, work: Path):
        self.d2r, self.demo, self.work = d2r, demo, work
        self.common = ["--config", config, "--json", "--quiet"] + (["--seed", str(seed)] if seed is not None else [])

    def run(self, *args: str | Path) -> dict:
        done = subprocess.run([self.d2r, *map(str, [*args, *self.common])], check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def lake(self, name: str, without: tuple[str, ...]) -> Path:
        """A copy of the demo's lake without these tables of the test split."""
        left_out = {f"{table}/dataset={DATASET}" for table in without}

        def ignored(folder: str, names: list[str]) -> list[str]:
            return [n for n in names if n == f"split={SPLIT}" and any(folder.endswith(f) for f in left_out)]

        lake = self.work / name
        shutil.copytree(self.demo / "lake", lake, ignore=ignored)
        return lake

    def evaluate(self, what: str, lake: Path) -> dict[str, float]:
        place = ["--dataset", DATASET, "--split", SPLIT, "--lake", lake, "--truth", self.demo / "phantom" / "truth"]
        return self.run("evaluate", what, *place)["figures"]


def table(lake: Path, name: str, split: str = SPLIT) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted(lake.glob(f"v1/{name}/dataset={DATASET}/split={split}/*.parquet"))])


def bleu_counts(generated: str, reference: str) -> list[int]:
    """Clipped matches and n-grams for n = 1 to 4, then both lengths."""
    ours, theirs = generated.split(), reference.split()
    counts = []
    for n in range(1, 5):
        grams = [Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (ours, theirs)]
        counts += [(grams[0] & grams[1]).total(), grams[0].total()]
    return [*counts, len(ours), len(theirs)]


def bleu4(sums: np.ndarray) -> float:
    correct, guess, (words, wanted) = sums[0:8:2], sums[1:8:2], sums[8:]
    brevity = np.exp(min(0.0, 1 - wanted / max(words, 1e-9)))
    return float(np.prod((correct + 1e-15) / (guess + 1e-9)) ** 0.25 * brevity)


def f1(sums: np.ndarray) -> float:
    right, superfluous, missed = sums
    return float(2 * right / max(2 * right + superfluous + missed, 1))


def counts_of(lake: Path) -> dict[str, tuple[list[int], list[int]]]:
    """By study: counts of BLEU-4, and right, superfluous and missed labels."""
    reports = table(lake, "reports").filter(pl.col("section") == SECTION)
    references = dict(reports.select("study_id", "text_clean").iter_rows())
    states: dict[tuple[str, str], set[str]] = {}
    for study, origin, label, state in table(lake, "findings").select("study_id", "origin", "label", "state").iter_rows():
        stated = states.setdefault((study, origin), set())
        if state in ("positive", "uncertain"):
            stated.add(label)
    counts = {}
    for study, text in table(lake, "generated_reports").select("study_id", "text").iter_rows():
        if study in references:
            generated, reference = states[study, "generated"], states[study, "reference"]
            counts[study] = (bleu_counts(text, references[study]), [len(generated & reference), len(generated - reference), len(reference - generated)])
    return counts


def paired(report_model: dict, preview_model: dict, which: int, figure) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The figure of both models and its ratio, with 95 % intervals over studies."""
    studies = sorted(report_model)
    assert studies == sorted(preview_model), "both models must have reports of the same studies"
    of = [np.array([counts[s][which] for s in studies], float) for counts in (report_model, preview_model)]
    rng = np.random.default_rng(9223)
    drawn = []
    for _ in range(DRAWS):
        weights = rng.multinomial(len(studies), np.full(len(studies), 1 / len(studies)))
        theirs, ours = (figure(weights @ c) for c in of)
        drawn.append((theirs, ours, ours / theirs if theirs > 0 else 0.0))
    theirs, ours = (figure(c.sum(0)) for c in of)
    names = ("report_model", "preview_model", "kept")
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return dict(zip(names, (theirs, ours, ours / theirs), strict=True)), {
        name: [float(a), float(b)] for name, a, b in zip(names, low, high, strict=True)
    }


def pointing(demo: Demo, bundle: Path) -> tuple[float, list[float], int]:
    """Share of (image, class) pairs whose highest heat map cell is inside a drawn lesion of that class."""
    folder = demo.work / "images"
    folder.mkdir()
    root = Path(json.loads((demo.demo / "lake" / "datasets.json").read_text())[DATASET]["root"])
    root = root if root.is_dir() else demo.demo / "phantom" / "mimic"
    for image, path in table(demo.demo / "lake", "images").select("image_id", "path").iter_rows():
        os.symlink(root / path, folder / f"{image}{Path(path).suffix}")
    files = [demo.work / name for name in ("preview.safetensors", "preview.json")]
    # This verb prints its own line.
    command = [demo.d2r, "inspect", "preview", "--bundle", bundle, "--images", folder, "--out", files[0], "--analyses", files[1]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tensors, analyses = load_file(files[0]), json.loads(files[1].read_text())
    lesions: dict[str, dict[int, list[tuple[float, ...]]]] = {}
    columns = ("image_id", "class_id", "x_min", "y_min", "x_max", "y_max")
    for image, class_id, *corners in table(demo.demo / "phantom" / "truth", "truth_lesions").select(columns).iter_rows():
        lesions.setdefault(image, {}).setdefault(class_id, []).append(tuple(corners))
    hits: list[list[int]] = []
    for i, analysis in enumerate(analyses):
        found = []
        for class_id, boxes in lesions.get(Path(analysis["file"]).stem, {}).items():
            heat = tensors[f"heat_{i}"][class_id]
            row, column = divmod(int(heat.argmax()), heat.shape[1])
            left, top, right, bottom = analysis["input_extent"]
            x = left + (column + 0.5) / heat.shape[1] * (right - left)
            y = top + (row + 0.5) / heat.shape[0] * (bottom - top)
            found.append(int(any(a <= x < c and b <= y < d for a, b, c, d in boxes)))
        hits.append(found)
    sums = np.array([[sum(f), len(f)] for f in hits], float)
    rng = np.random.default_rng(9223)
    drawn = [rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums))) @ sums for _ in range(DRAWS)]
    rates = [d[0] / max(d[1], 1) for d in drawn]
    return float(sums[:, 0].sum() / sums[:, 1].sum()), [float(v) for v in np.percentile(rates, [2.5, 97.5])], int(sums[:, 1].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "presets/preview_bench.toml")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--demo", type=Path, help="a finished folder of `d2r pipeline` with that configuration; made when absent")
    parser.add_argument("--runs", type=Path, help="folder of the preview model's run, to continue it; a temporary folder when absent")
    parser.add_argument("--bundle", type=Path, help="receives the bundle")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed to `d2r distill`")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        d2r = os.path.abspath(args.d2r)
        demo = Demo(d2r, args.config.absolute(), args.seed, (args.demo or work / "demo").absolute(), work)
        if args.demo is None:
            subprocess.run([d2r, "pipeline", "--out", demo.demo, *demo.common], check=True, stdout=subprocess.DEVNULL)
        (reporter,) = demo.demo.glob("runs/reporter-*")
        settings = [part for setting in args.set for part in ("--set", setting)]
        # Evaluated again, with references labelled by the rules, as generated reports are.
        anew = ("metrics", "findings")
        of_report_model = ("lesions", "generated_reports", "report_sentences", "sentence_boxes")
        report_model = demo.lake("report_model", anew)
        preview_model, boxes = (demo.lake(name, (*anew, *of_report_model)) for name in ("preview_model", "boxes"))
        runs = (args.runs or work / "runs").absolute()
        given = ["--dataset", DATASET, "--unreported", UNREPORTED, "--reporter", reporter]
        distilled = demo.run("distill", *given, "--lake", report_model, "--runs", runs, *settings)
        weights = Path(distilled["files"][0]["path"])
        run = weights.parent.parent
        export = ["export", "preview", "--preview-model", run, "--lake", report_model, "--dataset", DATASET, "--split", SPLIT]
        bundle = args.bundle.absolute() if args.bundle else work / "preview"
        exported = demo.run(*export, "--out", bundle)
        shutil.copytree(bundle, work / "all-boxes")
        card = json.loads((bundle / "card.json").read_text())
        card["options"]["score_min"] = SCORE_FLOOR
        (work / "all-boxes" / "card.json").write_text(json.dumps(card))
        place = ["--dataset", DATASET, "--split", SPLIT, "--lake"]
        demo.run("report", "--reporter", reporter, *place, report_model)
        demo.run("report", "--preview-model", bundle, *place, preview_model)
        demo.run("report", "--preview-model", work / "all-boxes", *place, boxes)
        of_reports = {name: demo.evaluate("reports", lake) for name, lake in (("report_model", report_model), ("preview_model", preview_model))}
        of_boxes = {name: demo.evaluate("detector", lake) for name, lake in (("report_model", report_model), ("preview_model", boxes))}
        counts = {name: counts_of(lake) for name, lake in (("report_model", report_model), ("preview_model", preview_model))}
        figures: dict[str, float | list[float]] = {}
        for which, (name, metric, figure) in enumerate([("bleu4", "bleu4", bleu4), ("label_f1", "label_f1_micro", f1)]):
            values, intervals = paired(counts["report_model"], counts["preview_model"], which, figure)
            for model in ("report_model", "preview_model"):
                official = of_reports[model][f"reports.{metric}"]
                assert abs(official - values[model]) < 1e-9, f"{metric} of the {model}: {values[model]} here, {official} there"
            for part, value in values.items():
                figures[f"{name}_{part}"], figures[f"{name}_{part}_ci"] = value, intervals[part]
        for model in ("report_model", "preview_model"):
            figures[f"rouge_l_{model}"] = of_reports[model]["reports.rouge_l"]
            figures[f"distinct_share_{model}"] = of_reports[model]["reports.distinct_share"]
            figures[f"link_precision_{model}"] = of_reports[model].get("links.precision", 0.0)
            figures[f"link_recall_{model}"] = of_reports[model].get("links.recall", 0.0)
            figures[f"ap50_{model}"] = of_boxes[model]["detector.ap50"]
        figures["bleu4_constant"] = of_reports["report_model"]["reports.bleu4_constant"]
        figures["pointing_hit_rate"], figures["pointing_hit_rate_ci"], figures["pointing_pairs"] = pointing(demo, bundle)
        figures["model_bytes"] = exported["figures"]["model_bytes"]
        figures["parameters"] = exported["figures"]["parameters"]
        figures["distil_s"] = distilled["wall_s"]
        figures["images"] = len(counts["report_model"])
    print("\n| figure | value | 95 % interval |\n|---|---|---|")
    for name, value in figures.items():
        if not name.endswith("_ci"):
            interval = figures.get(f"{name}_ci")
            shown = f"{value:.3f}" if value < 1000 else f"{value:.0f}"
            print(f"| {name} | {shown} | {f'{interval[0]:.3f} to {interval[1]:.3f}' if interval else ''} |")
    missed = [f"{name} {figures[name]:.3f} is below {bar}" for name, bar in BARS.items() if figures[name] < bar]
    if figures["model_bytes"] > MODEL_BYTES_MAX:
        missed.append(f"model_bytes {figures['model_bytes']:.0f} is above {MODEL_BYTES_MAX}")
    result = {
        "figures": figures,
        "ratios": {},
        "missed": missed,
        "settings": args.set,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-quality-preview",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    if missed:
        raise SystemExit("; ".join(missed))


if __name__ == "__main__":
    main()
