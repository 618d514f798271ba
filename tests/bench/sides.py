"""How many linked sentences that name a side name the side of their box: of a lake's generated reports.

A box lies on a side when its centre is more than 6 % of the film's width off the middle; the film's right is the patient's left.

    python tests/bench/sides.py --lake demo/lake --split test
"""

import argparse
from pathlib import Path

import polars as pl

MIDDLE = 0.06


def sides(lake: Path, dataset: str, split: str) -> tuple[int, int]:
    """Right ones, and all."""

    def table(name: str) -> pl.DataFrame:
        rows = pl.read_parquet(lake / "v1" / name / "**/*.parquet", hive_partitioning=True)
        return rows.filter((pl.col("dataset") == dataset) & (pl.col("split") == split))

    boxes = table("lesions").join(table("images").select("image_id", "width"), on="image_id")
    off = (pl.col("x_min") + pl.col("x_max")) / 2 / pl.col("width") - 0.5
    boxes = boxes.select("box_id", off=off).unique("box_id")
    words = pl.col("text").str.to_lowercase()
    said = table("report_sentences").select("report_id", "sentence_id", left=words.str.contains("left"), right=words.str.contains("right"))
    linked = table("sentence_boxes").join(said, on=["report_id", "sentence_id"]).join(boxes, on="box_id")
    sided = linked.filter((pl.col("left") != pl.col("right")) & (pl.col("off").abs() >= MIDDLE))
    return sided.filter(pl.col("left") == (pl.col("off") > 0)).height, sided.height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--dataset", default="mimic")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    right, all_ = sides(args.lake, args.dataset, args.split)
    print(f"{right} of {all_} linked sentences with a side name that of their box")


if __name__ == "__main__":
    main()
