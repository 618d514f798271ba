"""Which thresholds of accepted boxes agree best with what is present, on the lake of a finished demo.

    d2r pipeline --preset demo --seed 77 --out FOLDER
    python tests/bench/annotation/class_thresholds.py FOLDER

An image of the test split counts as found for a class when a box of the class is accepted in it; a box is correct when it
overlaps a drawn lesion of its class (IoU of at least 0.3). Rules: one threshold for all classes; thresholds by class with the highest F1 on
the studies of a split; those of the detector's card. What is present in a study is what was drawn: the demo's reports are exact,
so that they name the same. The last row is chosen on the test split itself: no rule can be expected to pass it.
"""

import argparse
import json
from pathlib import Path

import polars

IOU_MIN = 0.3
EDGES = ["x_min", "y_min", "x_max", "y_max"]


def iou(a: tuple, b: tuple) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def rows(folder: Path, table: str) -> polars.DataFrame:
    found = polars.read_parquet(f"{folder}/v1/{table}/**/*.parquet", hive_partitioning=True, missing_columns="insert")
    return found.filter(polars.col("dataset") == "mimic")


class Demo:
    """The detector's boxes and the drawn lesions of a demo's folder."""

    def __init__(self, folder: Path) -> None:
        images = rows(folder / "lake", "images").select("image_id", "study_id", "split")
        self.boxes = rows(folder / "lake", "lesions").filter(polars.col("source") == "pseudo")
        self.drawn = rows(folder / "phantom/truth", "truth_lesions")
        self.classes = dict(self.drawn.select("class_name", "class_id").unique().sort("class_name").rows())
        present = self.drawn.join(images, on="image_id").select("study_id", "class_name", present=True).unique()
        best = self.boxes.group_by("image_id", "class_name").agg(polars.col("score").max())
        names = polars.DataFrame({"class_name": list(self.classes)})
        asked = images.join(names, how="cross").join(present, on=["study_id", "class_name"], how="left")
        self.asked = asked.join(best, on=["image_id", "class_name"], how="left").with_columns(polars.col("present").fill_null(False))

    def by_class(self, split: str) -> dict[str, float]:
        """The thresholds with the highest F1: halfway between the last score above and the first below."""
        chosen = {}
        for name in self.classes:
            asked = self.asked.filter((polars.col("split") == split) & (polars.col("class_name") == name))
            positives, correct, best = asked["present"].sum(), 0, (0.0, 1.0)
            scored = sorted(asked.drop_nulls("score").select("score", "present").rows(), reverse=True)
            for place, (score, present) in enumerate(scored):
                correct += present
                after = scored[place + 1][0] if place + 1 < len(scored) else 0.0
                if after < score:
                    best = max(best, (2 * correct / (place + 1 + positives), (score + after) / 2))
            chosen[name] = best[1]
        return chosen

    def figures(self, thresholds: dict[str, float]) -> list[float]:
        """Precision, recall and F1 of the classes of test images, the number of accepted boxes and the share of correct ones."""
        least = polars.col("class_name").replace_strict(thresholds, default=1.0, return_dtype=polars.Float64)
        asked = self.asked.filter(polars.col("split") == "test").with_columns(found=(polars.col("score") > least).fill_null(False))
        both = (asked["found"] & asked["present"]).sum()
        found, present = asked["found"].sum(), asked["present"].sum()
        boxes = self.boxes.filter((polars.col("split") == "test") & (polars.col("score") > least))
        lesions: dict[tuple, list[tuple]] = {}
        for image, name, *edges in self.drawn.select("image_id", "class_name", *EDGES).rows():
            lesions.setdefault((image, name), []).append(tuple(edges))
        correct = [
            any(iou(tuple(edges), lesion) >= IOU_MIN for lesion in lesions.get((image, name), []))
            for image, name, *edges in boxes.select("image_id", "class_name", *EDGES).rows()
        ]
        return [both / found, both / present, 2 * both / (found + present), len(correct), sum(correct) / len(correct)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    demo = Demo(args.folder)
    (card,) = args.folder.glob("runs/detector-*/card.json")
    of_card = json.loads(card.read_text())["model"]["class_thresholds"]
    rules = {f"one, {score}": dict.fromkeys(demo.classes, score) for score in (0.42, 0.48)}
    rules |= {f"highest F1, {split} split": demo.by_class(split) for split in ("train", "val")}
    rules["the card's"] = {name: of_card[number] for name, number in demo.classes.items()}
    rules["highest F1, test split"] = demo.by_class("test")
    print("| thresholds | precision of classes | recall | F1 | boxes | correct boxes |\n|---|---|---|---|---|---|")
    for name, thresholds in rules.items():
        precision, recall, f1, boxes, correct = demo.figures(thresholds)
        print(f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {boxes} | {correct:.3f} |")
    print("\n" + ", ".join(f"{name} {threshold:.2f}" for name, threshold in rules["the card's"].items()))


if __name__ == "__main__":
    main()
