"""Expected COCO figures for batch/golden/eval/coco_ap.json, by pycocotools, and Kaggle-style AP by a direct
transcription of its definition. Run: python tests/python/golden/coco_ap.py (numpy, pycocotools 2.0.11)."""

import contextlib
import importlib.metadata
import io
import json
import pathlib

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

OUT = pathlib.Path(__file__).parents[3] / "batch/golden/eval/coco_ap.json"


def coco_figures(images, classes):
    truth = {"images": [{"id": i + 1} for i in range(len(images))], "annotations": [],
             "categories": [{"id": c + 1} for c in classes]}
    found = []
    for i, image in enumerate(images):
        for c, x0, y0, x1, y1 in image["truths"]:
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": i + 1, "category_id": c + 1, "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)})
        for c, score, x0, y0, x1, y1 in image["detections"]:
            found.append({"image_id": i + 1, "category_id": c + 1, "score": score,
                          "bbox": [x0, y0, x1 - x0, y1 - y0]})
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = truth
        gt.createIndex()
        if found:
            dt = gt.loadRes(found)
        else:
            dt = COCO()
            dt.dataset = {**truth, "annotations": []}
            dt.createIndex()
        e = COCOeval(gt, dt, "bbox")
        e.evaluate()
        e.accumulate()
        e.summarize()
    precision = e.eval["precision"]  # thresholds, recalls, classes, areas, most detections

    def mean(a):
        a = a[a > -1]
        return float(a.mean()) if a.size else None

    return {
        "stats": [None if s == -1 else float(s) for s in e.stats[:9]],
        "class_ap": [mean(precision[:, :, k, 0, 2]) for k in range(len(classes))],
        "class_ap50": [mean(precision[0, :, k, 0, 2]) for k in range(len(classes))],
    }


def voc_ap(images, classes, threshold, points, no_finding):
    """PASCAL VOC 2010: each detection is compared only with the truth box of highest IoU."""
    def overlap(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)

    work = []
    for c in classes:
        work.append([([t[1:] for t in im["truths"] if t[0] == c],
                      [(d[1], d[2:]) for d in im["detections"] if d[0] == c]) for im in images])
    if no_finding:
        unit = [0, 0, 1, 1]
        work.append([([] if im["truths"] else [unit],
                      [(1 - max((d[1] for d in im["detections"]), default=0.0), unit)]) for im in images])
    aps = []
    for per_image in work:
        total = sum(len(t) for t, _ in per_image)
        if total == 0:
            continue
        ranked = [(s, i, box) for i, (_, ds) in enumerate(per_image) for s, box in sorted(ds, key=lambda d: -d[0])]
        ranked.sort(key=lambda r: -r[0])
        taken, hits = set(), []
        for _, i, box in ranked:
            ious = [overlap(box, t) for t in per_image[i][0]]
            best = int(np.argmax(ious)) if ious else -1
            hit = best >= 0 and ious[best] > threshold and (i, best) not in taken
            if hit:
                taken.add((i, best))
            hits.append(hit)
        tp = np.cumsum(hits)
        recall = tp / total
        precision = tp / np.arange(1, len(hits) + 1)
        if points == "all":
            r = np.concatenate([[0.0], recall, [1.0]])
            p = np.concatenate([[0.0], precision, [0.0]])
            p = np.maximum.accumulate(p[::-1])[::-1]
            aps.append(float(np.sum(np.diff(r) * p[1:])))
        else:
            aps.append(float(np.mean([max(precision[recall >= x], default=0.0) for x in np.linspace(0, 1, 101)])))
    return float(np.mean(aps)) if aps else None


def random_images(rng, n, classes, grid_scores):
    images = []
    for _ in range(n):
        truths, detections = [], []
        for _ in range(rng.integers(0, 5)):
            c = int(rng.choice(classes[:-1]))  # the last class has no truth box
            x, y = rng.integers(0, 300, 2)
            edge = rng.choice([20, 32, 60, 96, 150])
            w, h = edge, edge if rng.random() < 0.4 else edge + int(rng.integers(0, 30))
            box = [float(x), float(y), float(x + w), float(y + h)]
            truths.append([c, *box])
            for _ in range(rng.integers(0, 3)):
                jitter = rng.integers(-12, 13, 4) * (w / 60)
                d = [float(np.float32(v)) for v in np.array(box) + np.round(jitter * 2) / 2]
                detections.append([c if rng.random() < 0.85 else int(rng.choice(classes)), score(rng, grid_scores), *d])
        for _ in range(rng.integers(0, 3)):
            x, y = rng.integers(0, 300, 2)
            w, h = rng.integers(10, 120, 2)
            detections.append([int(rng.choice(classes)), score(rng, grid_scores), float(x), float(y), float(x + w), float(y + h)])
        images.append({"truths": truths, "detections": detections})
    return images


def score(rng, on_grid):
    return float(np.float32(round(rng.random(), 1) if on_grid else round(rng.random(), 4)))


def main():
    rng = np.random.default_rng(9223)
    a, b = [0.0, 0.0, 100.0, 100.0], [50.0, 0.0, 150.0, 100.0]
    cases = {
        "random": ([0, 1, 2, 7], random_images(rng, 40, [0, 1, 2, 7], False)),
        "random_ties": ([0, 1, 2], random_images(rng, 40, [0, 1, 2], True)),
        "nothing": ([0, 1], []),
        "all_normal_and_silent": ([0], [{"truths": [], "detections": []}] * 3),
        "all_normal_with_false_alarms": ([0], [{"truths": [], "detections": [[0, 0.5, *a]]}] * 2),
        "silent": ([0], [{"truths": [[0, *a]], "detections": []}]),
        "duplicates": ([0], [{"truths": [[0, *a]], "detections": [[0, 0.5, *a], [0, 0.5, *a], [0, 0.75, *b]]}]),
        "tie_between_truths": ([0], [{"truths": [[0, *a], [0, *b]],
                                      "detections": [[0, 0.5, 25.0, 0.0, 125.0, 100.0], [0, 0.25, *b]]}]),
        "exact_half_iou": ([0], [{"truths": [[0, *a]], "detections": [[0, 0.5, 0.0, 0.0, 50.0, 100.0]]}]),
        "exact_two_fifths_iou": ([0], [{"truths": [[0, *a]], "detections": [[0, 0.5, 0.0, 0.0, 40.0, 100.0]]}]),
        "area_borders": ([0], [{"truths": [[0, 0.0, 0.0, 32.0, 32.0], [0, 100.0, 0.0, 196.0, 96.0]],
                                "detections": [[0, 0.5, 0.0, 0.0, 32.0, 33.0], [0, 0.5, 100.0, 0.0, 196.0, 96.0]]}]),
        "more_than_a_hundred": ([0], [{"truths": [[0, 0.0, 0.0, 40.0, 40.0], [0, 60.0, 60.0, 90.0, 90.0]],
                                       "detections": [[0, 0.875, 60.0, 60.0, 90.0, 90.0]]
                                       + [[0, 0.75, 200.0, 200.0, 210.0, 210.0]] * 100
                                       + [[0, 0.25, 0.0, 0.0, 40.0, 40.0]]}]),
    }
    versions = {p: importlib.metadata.version(p) for p in ("pycocotools", "numpy")}
    out = {"versions": versions, "cases": []}
    for name, (classes, images) in cases.items():
        kaggle = {f"{points}{'_no_finding' if nf else ''}": voc_ap(images, classes, 0.4, points, nf)
                  for points in ("101", "all") for nf in (False, True)}
        out["cases"].append({"name": name, "classes": classes, "images": images,
                             "expected": coco_figures(images, classes), "kaggle": kaggle})
    text = json.dumps(out, separators=(",", ":"))
    OUT.write_text(text.replace('{"name"', '\n{"name"') + "\n")
    print(OUT, len(text))


main()
