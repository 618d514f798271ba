"""Laterality of a lake's generated reports: how many linked sentences that name a side of the body name the side of their box.

A box is on a side when its centre is more than 6 % of the image's width off the middle; the right half of the image is the
patient's left.

    python tests/bench/laterality.py --lake demo/lake --split test
"""

import argparse
from pathlib import Path

import polars as pl

MIDDLE = 0.06


def laterality(lake: Path, dataset: str, split: str) -> tuple[int, int]:
    """Number of correct links, and of all links with a side."""

    def table(name: str) -> pl.DataFrame:
        rows = pl.read_parquet(lake / "v1" / name / "**/*.parquet", hive_partitioning=True)
        return rows.filter((pl.col("dataset") == dataset) & (pl.col("split") == split))

    boxes = table("lesions").join(table("images").select("image_id", "width"), on="image_id")
    offset = (pl.col("x_min") + pl.col("x_max")) / 2 / pl.col("width") - 0.5
    boxes = boxes.select("box_id", offset=offset).unique("box_id")
    text = pl.col("text").str.to_lowercase()
    sentences = table("report_sentences").select(
        "report_id", "sentence_id", left=text.str.contains("left"), right=text.str.contains("right")
    )
    linked = table("sentence_boxes").join(sentences, on=["report_id", "sentence_id"]).join(boxes, on="box_id")
    lateral = linked.filter((pl.col("left") != pl.col("right")) & (pl.col("offset").abs() >= MIDDLE))
    return lateral.filter(pl.col("left") == (pl.col("offset") > 0)).height, lateral.height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--dataset", default="mimic")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    correct, all_ = laterality(args.lake, args.dataset, args.split)
    print(f"{correct} of {all_} linked sentences with a side name the side of their box")


if __name__ == "__main__":
    main()
