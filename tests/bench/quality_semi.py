"""Gain of semi-supervised training: AP50 on held-out phantoms; one training image in ten has annotators' boxes, the others reports.

For each seed (of the initial weights and all random streams of training) the same detector is trained for the same number of
steps on the same images with boxes. Arms: supervised; semi-supervised with pseudo-labels selected by the reports of images
without boxes (`semi`); without reports (`unread`); without reports, on the constant pseudo-labels of the finished supervised
detector (`labelled_once`). Images with boxes are VinDr-CXR phantoms, those without are MIMIC-CXR phantoms. The reference is the drawn
lesions. Intervals are Student's t over seeds, those of gains over paired seeds. Writes bench-results/quality-semi.json and
its curves as SVG, and prints a Markdown table.

    python tests/bench/quality_semi.py --d2r D2R --out bench-results/quality-semi.json

With `--labelled 5 10 20 50` it is one curve per arm over the number of labelled images per class (`semi_curves.py` says what
that means), by default of the arms supervised, published and semi:

    python tests/bench/quality_semi.py --d2r D2R --labelled 5 10 20 50 --folder FOLDER \\
        --known docs/measurements/semi-curves.json --out bench-results/semi-curves.json

`published` has the values of preset `utv2_coco_fcos` in section `[semi]`, but for two: the burn-in has the preset's length here,
and the teacher forgets within the same share of the mutual phase (10000 of 170000 steps). The network is that of the other
arms, without the edges' uncertainties of profile `utv2`, which needs the levels P3 to P7. The arms that end in `_rcnn` are the
same with Faster R-CNN (`utv2_coco_rcnn`; 2500 of 178000 steps). `published_plain` is `published` without strong augmentation,
`published_low` also has a threshold of 0.3: they show what the published loop lacks here.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import semi_curves
from machine import libtorch, machine
from semi_curves import today

CONFIG = Path(__file__).parent / "presets/semi_bench.toml"
# Settings were sought on other phantoms; what was tried on these is in docs/results.md and docs/experiments.md.
PHANTOM_SEED = 101
UNLABELLED = ["--unlabelled", "mimic"]
UNREAD = ["semi.report_threshold=off"]
FASTER_RCNN = ["detector.model.architecture=faster_rcnn"]


def published(threshold: float, class_weight: float, box_weight: float, keep_rate: float) -> list[str]:
    """The mutual phase of Unbiased Teacher v2 as published."""
    return [
        *UNREAD,
        "semi.strong=always",
        "semi.flip_tta=false",
        f"semi.threshold={threshold}",
        "semi.ignore_min=off",
        "semi.guard_rails=off",
        f"semi.unlabelled_weight={class_weight}",
        f"semi.box_loss_weight={box_weight}",
        "semi.ramp_steps=0",
        f"semi.ema_keep_rate={keep_rate}",
        "semi.teacher_start=student",
        "semi.filter_empty=true",
    ]


ARMS = {
    "supervised": ([], []),
    "semi": (UNLABELLED, []),
    "unread": (UNLABELLED, UNREAD),
    "labelled_once": (UNLABELLED, [*UNREAD, "semi.burn_in_steps=500"]),
    # 1 - 170000 / 10000 / 3000 and 1 - 178000 / 2500 / 3000: the preset's mutual phase has 3000 steps.
    "published": (UNLABELLED, published(0.5, 3.0, 0.2, 0.9943)),
    "published_plain": (UNLABELLED, [*published(0.5, 3.0, 0.2, 0.9943), "semi.strong=none"]),
    "published_low": (UNLABELLED, [*published(0.3, 3.0, 0.2, 0.9943), "semi.strong=none"]),
    "supervised_rcnn": ([], FASTER_RCNN),
    "semi_rcnn": (UNLABELLED, FASTER_RCNN),
    "published_rcnn": (UNLABELLED, [*FASTER_RCNN, *published(0.7, 4.0, 1.0, 0.9763)]),
}
# The configuration's phantoms have boxes and no reports; these have reports and no boxes, all in the training split.
WITH_REPORTS = ["phantom.labelled_images=0", "phantom.report_studies=450", "phantom.val_share=0", "phantom.test_share=0"]


def run(d2r: str, folder: Path, *args: str, settings: list[str]) -> dict:
    command = [d2r, *args, "--config", str(CONFIG), "--lake", "lake", "--runs", "runs", "--json", "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(d2r: str, folder: Path, settings: list[str]) -> None:
    """Draws the phantoms and reads them into a lake."""
    if (folder / "done").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run(d2r, folder, "phantom", "--out", "phantom", "--seed", str(PHANTOM_SEED), settings=settings)
    reported = [*settings, *WITH_REPORTS]
    run(d2r, folder, "phantom", "--out", "reported", "--seed", str(PHANTOM_SEED + 1), settings=reported)
    run(d2r, folder, "ingest", "vindr", "--root", str(folder / "phantom/vindr"), settings=settings)
    run(d2r, folder, "ingest", "mimic", "--root", str(folder / "reported/mimic"), settings=settings)
    (folder / "done").touch()


def imported(d2r: str, folder: Path, trunk: Path) -> list[str]:
    """A trunk's file as a detector run: the flags that start from it."""
    folder.mkdir(exist_ok=True)
    files = run(d2r, folder, "import-weights", "imagenet", "--weights", str(trunk.absolute()), settings=[])["files"]
    (card,) = (Path(file["path"]) for file in files if file["path"].endswith("card.json"))
    return ["--init", str(folder / card.parent)]


def measured(d2r: str, source: Path, folder: Path, seed: int, arm: str, settings: list[str], init: list[str]) -> dict:
    """Trains in a copy of the lake; the figures of the teacher on the test split. `init`: flags of the initial weights."""
    done = folder / "result.json"
    if done.is_file():
        return json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(source / "lake", folder / "lake")
    flags, own = ARMS[arm]
    settings = [*settings, *own]
    if arm == "labelled_once":
        (labeller,) = (folder.parent / f"supervised-{seed}/runs").iterdir()
        flags = [*flags, "--labeller", str(labeller)]
    common = ["--dataset", "vindr", "--seed", str(seed)]
    flags = [*flags, *init]
    start = time.perf_counter()
    steps = run(d2r, folder, "train-detector", *common, *flags, settings=settings)["figures"]["steps"]
    seconds = time.perf_counter() - start
    (trained,) = (folder / "runs").iterdir()
    run(d2r, folder, "annotate", *common, "--split", "test", "--detector", str(trained), settings=settings)
    truth = ["--split", "test", "--truth", str(source / "phantom/truth")]
    figures = run(d2r, folder, "evaluate", "detector", *common, *truth, settings=settings)["figures"]
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    curve = {
        phase: [(r["step"], r["score"]) for r in rows if r["phase"] == phase]
        for phase in ("validation", "validation_student")
    }
    found = {"ap50": figures["detector.ap50"], "ap": figures["detector.ap"], "steps": int(steps), "train_s": seconds, "curve": curve, "date": today()}
    done.write_text(json.dumps(found))
    return found


def interval(values: list[float]) -> list[float]:
    """95 % interval of the mean over seeds, by Student's t."""
    if len(values) < 2:
        return [values[0], values[0]]
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[len(values)]
    half = quantile * statistics.stdev(values) / len(values) ** 0.5
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def curves(runs: dict[str, list[dict]], path: Path) -> None:
    """Validation AP50 over steps, one line per run, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for colour, (arm, found) in enumerate(runs.items()):
        for i, run_ in enumerate(found):
            steps, scores = zip(*run_["curve"]["validation"], strict=True)
            axes.plot(steps, scores, color=f"C{colour}", label=arm if i == 0 else None)
    axes.set(xlabel="step", ylabel="AP50 on the validation split", ylim=(0, 1))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, help="working folder that keeps finished parts, which are not repeated; a temporary folder when absent")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), help="default: supervised semi; with --labelled also published")
    parser.add_argument("--labelled", type=int, nargs="+", metavar="K", help="curves over these numbers of labelled images per class")
    parser.add_argument("--known", type=Path, metavar="FILE", help="with --labelled: a JSON list of finished cells, which are not repeated; new ones are appended")
    parser.add_argument("--trunk", type=Path, metavar="FILE", help="with --labelled: all arms start from this trunk, for instance of pretrain_trunk.py")
    parser.add_argument("--jobs", type=int, default=2, help="trainings in parallel; networks of this size gain little from a second thread")
    args = parser.parse_args()
    args.arms = args.arms or (["supervised", "published", "semi"] if args.labelled else ["supervised", "semi"])
    if (args.known or args.trunk) and not args.labelled:
        parser.error("`--known` and `--trunk` belong to `--labelled`")
    if args.labelled and (min(args.labelled) < 1 or "labelled_once" in args.arms):
        parser.error("`--labelled` takes numbers from 1 on, and no arm `labelled_once`")
    if "labelled_once" in args.arms and "supervised" not in args.arms:
        parser.error("`labelled_once` needs the detectors of arm `supervised`: name both")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if args.labelled:
            init = imported(args.d2r, folder / "trunk", args.trunk) if args.trunk else []
            semi_curves.curves(args, folder, CONFIG, ARMS, init, prepare, measured, interval)
            return
        source = folder / "source"
        threads = max(1, (os.cpu_count() or 1) // args.jobs)
        settings = [*args.settings, f"run.threads={threads}"]
        prepare(args.d2r, source, settings)

        def one(job: tuple[str, int]) -> dict:
            name, seed = job
            found = measured(args.d2r, source, folder / f"{name}-{seed}", seed, name, settings, [])
            print(f"seed {seed} {name:<10} AP50 {found['ap50']:.3f} AP {found['ap']:.3f} {found['train_s']:.0f} s", flush=True)
            return found

        # Supervised ones first: their detectors are labellers of other arms.
        jobs = [(name, seed) for seed in args.seeds for name in args.arms]
        done = {}
        for stage in ([j for j in jobs if j[0] == "supervised"], [j for j in jobs if j[0] != "supervised"]):
            with ThreadPoolExecutor(args.jobs) as pool:
                done.update(zip(stage, pool.map(one, stage), strict=True))
    write(args, {name: [done[name, seed] for seed in args.seeds] for name in args.arms})


def write(args: argparse.Namespace, runs: dict[str, list[dict]]) -> None:
    ap50 = {name: [r["ap50"] for r in found] for name, found in runs.items()}
    rows = {f"ap50_{name}": values for name, values in ap50.items()}
    for name, arm, other in (
        ("ap50_gain", "semi", "supervised"),
        ("ap50_gain_labelled_once", "labelled_once", "supervised"),
        ("ap50_gain_unread", "unread", "supervised"),
    ):
        if arm in ap50 and other in ap50:
            rows[name] = [a - b for a, b in zip(ap50[arm], ap50[other], strict=True)]
    figures = {}
    print("\n| | AP50, mean over seeds | 95 % interval | by seed |\n|---|---|---|---|")
    for name, values in rows.items():
        figures[name], figures[f"{name}_ci"] = statistics.mean(values), interval(values)
        low, high = figures[f"{name}_ci"]
        print(f"| {name} | {figures[name]:.3f} | {low:.3f} to {high:.3f} | {', '.join(f'{v:.3f}' for v in values)} |")
    result = {
        "figures": figures,
        "ratios": {},
        "runs": runs,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-quality-semi",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    curves(runs, args.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
