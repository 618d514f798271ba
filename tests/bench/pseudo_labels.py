"""How good the pseudo-labels of a finished detector are: its boxes on the images with reports of `quality_semi.py --labelled`,
beside what was drawn there. A box is correct that overlaps a drawn lesion of its class (IoU above 0.5; each lesion once, higher
scores first).

    python tests/bench/pseudo_labels.py --d2r D2R --folder FOLDER --cells supervised-k10-1 published-k10-1

`FOLDER` is the bench's; a cell is named by the beginning of its folder's name. Prints a Markdown table, and the boxes above the
first score by class.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path

import polars
from quality_semi import run
from real import iou

SCORES = (0.5, 0.3)
SETTINGS = ["annotate.flip_tta=false", "annotate.score_floor=0.05"]
EDGES = ["x_min", "y_min", "x_max", "y_max"]


def correct(boxes: polars.DataFrame, drawn: dict[tuple, list[tuple]]) -> list[bool]:
    """Of each box, by falling score."""
    left = {key: list(lesions) for key, lesions in drawn.items()}
    found = []
    for image, kind, *edges in boxes.select("image_id", "class_id", *EDGES).rows():
        lesions = left.get((image, kind), [])
        best = max(lesions, key=lambda lesion: iou(tuple(edges), lesion), default=None)
        found.append(best is not None and iou(tuple(edges), best) > 0.5)
        if found[-1]:
            lesions.remove(best)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--cells", required=True, nargs="+", metavar="ARM-kK-SEED")
    args = parser.parse_args()
    folder = args.folder.absolute()
    source = folder / "curves-source"
    images = polars.read_parquet(source / "lake/v1/images/dataset=mimic/split=train/*.parquet")["image_id"]
    truth = polars.read_parquet(source / "reported/truth/v1/truth_lesions/dataset=mimic/**/*.parquet").filter(polars.col("image_id").is_in(images.implode()))
    drawn: dict[tuple, list[tuple]] = {}
    for image, kind, *edges in truth.select("image_id", "class_id", *EDGES).rows():
        drawn.setdefault((image, kind), []).append(tuple(edges))
    print(f"{truth['image_id'].n_unique()} images with {truth.height} drawn lesions\n")
    print(f"| cell | {' | '.join(f'boxes above {score} | correct | lesions found' for score in SCORES)} |")
    print(f"|---|{'---|---|---|' * len(SCORES)}")
    classes = {}
    for cell in args.cells:
        (place,) = (path for path in folder.glob(f"{cell}-*") if (path / "runs").is_dir())
        (detector,) = (place / "runs").iterdir()
        lake = folder / "pseudo-labels"
        shutil.rmtree(lake, ignore_errors=True)
        lake.mkdir()
        shutil.copytree(source / "lake", lake / "lake")
        run(args.d2r, lake, "annotate", "--dataset", "mimic", "--split", "train", "--detector", str(detector), settings=SETTINGS)
        boxes = polars.read_parquet(lake / "lake/v1/lesions/dataset=mimic/split=train/*.parquet").sort("score", descending=True)
        right = boxes.with_columns(correct=polars.Series(correct(boxes, drawn)))
        row = []
        for score in SCORES:
            above = right.filter(polars.col("score") > score)
            hits = above["correct"].sum()
            row += [str(above.height), f"{hits / max(1, above.height):.2f}", f"{hits / truth.height:.2f}"]
        print(f"| {cell} | {' | '.join(row)} |", flush=True)
        classes[cell] = Counter(right.filter(polars.col("score") > SCORES[0])["class_name"].to_list())
        shutil.rmtree(lake)
    print()
    for cell, counted in classes.items():
        print(f"{cell}: {', '.join(f'{name} {number}' for name, number in counted.most_common())}")


if __name__ == "__main__":
    main()
