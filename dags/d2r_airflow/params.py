"""The fields of the trigger forms. A field that several DAGs have is the same in all."""

from __future__ import annotations

from airflow.sdk import Param

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
FOLDER = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
OVERRIDE = r"^[a-z0-9_.]+=.*$"
# The name of a label set, or the path of its file.
LABELS = r"^[^-\x00][^\x00]*$"
PARTITION = r"^[A-Za-z0-9_-]+/(train|val|test)$"
# Airflow stops at 1024 mapped tasks; long before that a shard is too short for its start-up time.
SHARDS_MAX = 512

PROJECT = "project"


def common() -> dict[str, Param]:
    """The fields that every DAG's trigger form has."""
    return {
        PROJECT: Param(
            None, type=["null", "string"], pattern=FOLDER, title="Project",
            description_md="Folder of the workspace that holds `lake/`, `runs/` and `previews/`; empty: the triggering event's, else `main`.",
        ),
        "preset": Param(
            None, type=["null", "string"], pattern=NAME, title="Preset", examples=["default", "demo", "tiny"],
            description_md="The built-in configuration to start from; empty: the triggering event's, else `default`.",
        ),
        "overrides": Param(
            None, type=["null", "array"], items={"type": "string", "pattern": OVERRIDE}, title="Overrides",
            section="Advanced",
            description_md="One `key=value` a line, laid over the preset, for instance `annotate.threshold=0.4`; empty: the event's.",
        ),
    }


def dataset(default: str, title: str) -> Param:
    """A data set of the lake."""
    return Param(default, type="string", pattern=NAME, title=title, description="Its name in the lake.")


def labels() -> Param:
    """The label set of the boxes that are read."""
    return Param(
        None, type=["null", "string"], pattern=LABELS, title="Label set", section="Advanced", examples=["nih", "incoming/classes.toml"],
        description_md="Classes of the delivered boxes: the name of a label set or its TOML file; empty: `vindr`.",
    )


def run(kind: str) -> Param:
    """A finished training run; an event that triggers the DAG brings it along."""
    return Param(
        None, type=["null", "string"], pattern=NAME, title=f"{kind.capitalize()} run", examples=[f"{kind}-0123456789ab"],
        description="Folder under `runs/`; empty: the one of the event that triggered this run. A run started by hand needs it.",
    )


def training() -> dict[str, Param]:
    """What a detector may be trained with beside its labelled data set."""
    return {
        "unlabelled": Param(
            None, type=["null", "string"], pattern=NAME, title="Unlabelled data set", examples=["mimic"],
            description="Its images are used without boxes (Unbiased Teacher v2); empty: the event's, else training is supervised.",
        ),
        "init": Param(
            None, type=["null", "string"], pattern=NAME, title="Initial weights", examples=["detector-0123456789ab"],
            description="Folder under `runs/`, for instance of imported weights; presets with an imported backbone need it.",
        ),
        "labellers": Param(
            None, type=["null", "array"], items={"type": "string", "pattern": NAME}, title="Labellers", section="Advanced",
            description="Finished detector runs, one a line, that give the pseudo-labels in the teacher's place.",
        ),
    }


def shards(default: int) -> Param:
    """How many mapped tasks share the work."""
    return Param(
        default, type="integer", minimum=1, maximum=SHARDS_MAX, title="Shards",
        description="Mapped tasks that share the work; each writes its own part and can be cleared alone.",
    )


def partitions(otherwise: str = "needed in a run started by hand") -> Param:
    """Which partitions of the lake to work on: one, or many for a backfill."""
    return Param(
        None, type=["null", "array"], items={"type": "string", "pattern": PARTITION}, minItems=1, title="Partitions",
        description_md=f"One `dataset/split` a line; several for a backfill; empty: the triggering event's, else {otherwise}.",
    )
