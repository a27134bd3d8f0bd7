"""The plug-in of the sink `files`."""

from __future__ import annotations

import os
from typing import Final

from kafka_etl.contracts import Deployment, Guarantee, Label, Preflight, SinkPlugin
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.files.store import FilesSettings, FilesStore


def _check(settings: FilesSettings, deployment: Deployment) -> Preflight:
    folder = deployment.folder / settings.folder
    if not folder.is_dir():
        raise SinkFailed(f"there is no folder {folder}", "Create it, or correct `folder`.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SinkFailed(f"folder {folder} may not be written", "Correct its rights.")
    return Preflight()


def _label(settings: FilesSettings) -> Label:
    if not settings.sync:
        return Label(
            Guarantee.AT_LEAST_ONCE,
            "`sync: false`: a crash of the machine may lose or double the last lines of a file; a "
            "crash of the pipeline alone does not",
        )
    return Label(
        Guarantee.EXACTLY_ONCE,
        "each file with its offset; after a crash, whoever follows a growing file may see the last "
        "lines twice, and a line made of several partitions' records may come twice",
    )


SINK: Final = SinkPlugin(
    settings=FilesSettings,
    label=_label,
    build=FilesStore,
    summary="lines in local files, one for each partition",
    check=_check,
)
