"""Writes batch/golden/fusion/fusion.json: Weighted Boxes Fusion by ensemble-boxes.

Usage: python tests/python/golden/fusion.py   (needs ensemble-boxes 1.0.9)
"""

import json
import random
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy
from ensemble_boxes import weighted_boxes_fusion

SEED = 20210622
TYPES = ["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]
OUT = Path(__file__).resolve().parents[3] / "batch/golden/fusion/fusion.json"


def annotators_of_one_image(rng, count, equal_scores, with_oddities):
    """Each annotator marks some of the same lesions, slightly displaced, and sometimes one twice."""
    lesions = [(rng.randrange(3), rng.uniform(0, 0.6), rng.uniform(0, 0.6), rng.uniform(0.08, 0.35), rng.uniform(0.08, 0.35)) for _ in range(5)]
    annotators = []
    for _ in range(count):
        boxes = []
        for label, x, y, w, h in lesions:
            for _ in range(rng.choice([0, 1, 1, 2])):
                d = [rng.gauss(0, 0.02) for _ in range(4)]
                score = 1.0 if equal_scores else rng.uniform(0.05, 1.0)
                boxes.append({"label": label, "score": score, "xyxy": [x + d[0], y + d[1], x + w + d[2], y + h + d[3]]})
        annotators.append(boxes)
    if with_oddities:
        annotators.append([])
        # Reversed corners, a box beyond the image, a box without area.
        annotators.append(
            [
                {"label": 1, "score": 0.61, "xyxy": [0.5, 0.6, 0.2, 0.3]},
                {"label": 1, "score": 0.47, "xyxy": [0.8, 0.7, 1.3, 1.2]},
                {"label": 2, "score": 0.33, "xyxy": [0.4, 0.4, 0.4, 0.9]},
            ]
        )
    return annotators


def fuse(case):
    boxes, scores, labels = weighted_boxes_fusion(
        [[b["xyxy"] for b in r] for r in case["readers"]],
        [[b["score"] for b in r] for r in case["readers"]],
        [[b["label"] for b in r] for r in case["readers"]],
        weights=case["weights"],
        iou_thr=case["iou_min"],
        skip_box_thr=case["score_min"],
        conf_type=case["confidence"],
        allows_overflow=case["allows_overflow"],
    )
    return [{"label": int(label), "score": float(s), "xyxy": [float(v) for v in b]} for b, s, label in zip(boxes, scores, labels)]


def main():
    warnings.simplefilter("ignore")
    rng = random.Random(SEED)
    cases = []
    for confidence in TYPES:
        for equal, odd, weights in [(False, False, None), (False, True, None), (True, False, None), (False, False, [2, 1, 0.5])]:
            annotators = annotators_of_one_image(rng, 3, equal, odd)
            case = {
                "confidence": confidence,
                "equal_scores": equal,
                "readers": annotators,
                "weights": weights or [1.0] * len(annotators),
                "iou_min": rng.choice([0.4, 0.5, 0.55]),
                "score_min": 0.0 if equal else rng.choice([0.0, 0.2]),
                "allows_overflow": confidence == "avg" and weights is not None,
            }
            cases.append({**case, "fused": fuse(case)})
    versions = {"ensemble-boxes": version("ensemble-boxes"), "numpy": numpy.__version__}
    text = json.dumps({"seed": SEED, "versions": versions, "cases": cases}, separators=(",", ":"))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n")
    print(f"{OUT}: {len(text)} bytes, {len(cases)} cases")


if __name__ == "__main__":
    main()
