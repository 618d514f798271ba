"""Which thresholds of accepted boxes agree best with what is present, on the lake of a finished demo.

    d2r pipeline --preset demo --seed 77 --out FOLDER
    python tests/bench/annotation/class_thresholds.py FOLDER

An image of the test split counts as found for a class when a box of the class is accepted in it; a box is correct when it
overlaps a drawn lesion of its class (IoU of at least 0.3). Rules: one threshold for all classes; thresholds by class with the highest F1 on
the studies of a split; those of the detector's card. What is present in a study is what was drawn: the demo's reports are exact,
so that they name the same. The last row is chosen on the test split itself, for comparison. The second table has F1 on
one half of the training images with thresholds that were chosen on the other, the mean over both and over HALVINGS halvings.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import polars

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from real import iou  # noqa: E402

IOU_MIN = 0.3
HALVINGS = 6
# How far below the highest F1 is as good, and the number of images that the threshold of all classes counts like.
NEAR, OF_ALL = 0.02, 20
EDGES = ["x_min", "y_min", "x_max", "y_max"]


def rows(folder: Path, table: str) -> polars.DataFrame:
    found = polars.read_parquet(f"{folder}/v1/{table}/**/*.parquet", hive_partitioning=True, missing_columns="insert")
    return found.filter(polars.col("dataset") == "mimic")


def least(thresholds: dict[str, float]) -> polars.Expr:
    return polars.col("class_name").replace_strict(thresholds, default=1.0, return_dtype=polars.Float64)


def shares(asked: polars.DataFrame, thresholds: dict[str, float]) -> list[float]:
    """Precision, recall and F1 over images and classes."""
    asked = asked.with_columns(found=(polars.col("score") > least(thresholds)).fill_null(False))
    both = (asked["found"] & asked["present"]).sum()
    found, present = asked["found"].sum(), asked["present"].sum()
    return [both / found, both / present, 2 * both / (found + present)]


def middle(asked: polars.DataFrame, near: float) -> float:
    """The middle of the scores above which F1 is at most `near` below its highest value, without a gap."""
    positives, correct, cuts = asked["present"].sum(), 0, []
    scored = sorted(asked.drop_nulls("score").select("score", "present").rows(), reverse=True)
    for place, (score, present) in enumerate(scored):
        correct += present
        after = scored[place + 1][0] if place + 1 < len(scored) else 0.0
        if after < score:
            cuts.append((2 * correct / (place + 1 + positives), score, after))
    if not correct:
        return 1.0
    highest = max(f1 for f1, _, _ in cuts)
    best = max(place for place, (f1, _, _) in enumerate(cuts) if f1 == highest)
    first = last = best
    while first > 0 and cuts[first - 1][0] >= highest - near:
        first -= 1
    while last + 1 < len(cuts) and cuts[last + 1][0] >= highest - near:
        last += 1
    return (cuts[first][1] + cuts[last][2]) / 2


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

    def split(self, name: str) -> polars.DataFrame:
        return self.asked.filter(polars.col("split") == name)

    def by_class(self, asked: polars.DataFrame, near: float, of_all: float) -> dict[str, float]:
        """The middle of what is near the highest F1 of the class, and of all classes together with that weight."""
        of = {name: asked.filter(polars.col("class_name") == name) for name in self.classes}
        all_ = middle(asked, near)
        count = {name: rows_["present"].sum() for name, rows_ in of.items()}
        return {name: (count[name] * middle(of[name], near) + of_all * all_) / (count[name] + of_all or 1) for name in of}

    def halves(self, near: float, of_all: float) -> float:
        """F1 on the half of the training images that the thresholds were not chosen on."""
        training, found = self.split("train"), []
        images = sorted(training["image_id"].unique())
        for seed in range(HALVINGS):
            random.Random(seed).shuffle(images)
            halves = [training.filter(polars.col("image_id").is_in(part)) for part in (images[::2], images[1::2])]
            for chosen_on, other in (halves, halves[::-1]):
                found.append(shares(other, self.by_class(chosen_on, near, of_all))[2])
        return sum(found) / len(found)

    def figures(self, thresholds: dict[str, float]) -> list[float]:
        """Precision, recall and F1 of the classes of test images, the number of accepted boxes and the share of correct ones."""
        boxes = self.boxes.filter((polars.col("split") == "test") & (polars.col("score") > least(thresholds)))
        lesions: dict[tuple, list[tuple]] = {}
        for image, name, *edges in self.drawn.select("image_id", "class_name", *EDGES).rows():
            lesions.setdefault((image, name), []).append(tuple(edges))
        correct = [
            any(iou(tuple(edges), lesion) >= IOU_MIN for lesion in lesions.get((image, name), []))
            for image, name, *edges in boxes.select("image_id", "class_name", *EDGES).rows()
        ]
        return [*shares(self.split("test"), thresholds), len(correct), sum(correct) / len(correct)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    demo = Demo(args.folder)
    (card,) = args.folder.glob("runs/detector-*/card.json")
    of_card = json.loads(card.read_text())["model"]["class_thresholds"]
    rules = {f"one, {score}": dict.fromkeys(demo.classes, score) for score in (0.42, 0.48)}
    rules |= {f"highest F1, {split} split": demo.by_class(demo.split(split), 0, 0) for split in ("train", "val")}
    rules["middle of near, train split"] = demo.by_class(demo.split("train"), NEAR, 0)
    rules["the card's"] = {name: of_card[number] for name, number in demo.classes.items()}
    rules["highest F1, test split"] = demo.by_class(demo.split("test"), 0, 0)
    print("| thresholds | precision of classes | recall | F1 | boxes | correct boxes |\n|---|---|---|---|---|---|")
    for name, thresholds in rules.items():
        precision, recall, f1, boxes, correct = demo.figures(thresholds)
        print(f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {boxes} | {correct:.3f} |")
    print("\n| chosen on one half of the training images | F1 on the other |\n|---|---|")
    for name, near, of_all in (("highest F1", 0, 0), ("middle of near", NEAR, 0), ("with that of all classes", NEAR, OF_ALL)):
        print(f"| {name} | {demo.halves(near, of_all):.3f} |")
    one = sum(shares(demo.split("train"), dict.fromkeys(demo.classes, 0.48))[2:])
    print(f"| one, 0.48 | {one:.3f} |")
    ours = demo.by_class(demo.split("train"), NEAR, OF_ALL)
    apart = max(abs(ours[name] - threshold) for name, threshold in rules["the card's"].items())
    print(f"\nThe card's thresholds and those of the same rule here differ by {apart:.1e} at most.")
    print("\n" + ", ".join(f"{name} {threshold:.2f}" for name, threshold in rules["the card's"].items()))


if __name__ == "__main__":
    main()
