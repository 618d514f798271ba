"""The one operator: runs a verb of `d2r`, maps how it ends, and announces what it made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from d2r_airflow import facets, launchers, lineage
from d2r_airflow.outcome import judge
from d2r_airflow.policy import GPU_POOL
from d2r_airflow.settings import Settings

Argument = str | Sequence["Argument"]


class D2ROperator(BaseOperator):
    """Runs `d2r` with `arguments` followed by `share`, without a shell, in the workspace.

    The manifest becomes the task's XCom. Each outlet's event carries what the manifest says, and `carried`.

    :param arguments: The verb and its arguments; lists inside it are opened, so that a task's result can be one.
    :param share: The arguments of one mapped task, usually `--shard i/n`.
    :param carried: What the DAGs that an outlet triggers need to know: the project, runs, partitions.
    """

    template_fields = ("arguments", "share", "carried")
    ui_color = "#dce9f2"

    def __init__(
        self,
        *,
        arguments: Sequence[Argument],
        share: Sequence[str] = (),
        carried: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.arguments, self.share, self.carried = arguments, share, carried
        self._launcher: launchers.Launcher | None = None
        self._done: tuple[list[str], dict[str, Any]] | None = None

    def execute(self, context: dict[str, Any]) -> dict[str, Any]:
        settings = Settings.read()
        argv = flat([self.arguments, self.share])
        self.log.info("d2r %s", " ".join(argv))
        self._launcher = launchers.launcher(settings, gpu=self.pool == GPU_POOL, log=self.log)
        manifest = judge(self._launcher.run(argv, context))
        self._done = argv, manifest
        for asset in self.outlets:
            context["outlet_events"][asset].extra = lineage.extras([manifest], Path(settings.workspace), self.carried)
        return manifest

    def on_kill(self) -> None:
        if self._launcher is not None:
            self._launcher.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any | None:
        """What OpenLineage's provider asks after the command: datasets read and written. Nothing without a finished command."""
        if self._done is None:
            return None
        argv, manifest = self._done
        return facets.operator_lineage(argv, manifest, Path(Settings.read().workspace))


def flat(argument: Argument) -> list[str]:
    """The strings of a nested list, in order."""
    if isinstance(argument, str):
        return [argument]
    return [text for inner in argument for text in flat(inner)]
