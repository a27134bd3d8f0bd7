"""Renders reports, which may take long."""

from __future__ import annotations

from typing import Any

from kafka_etl import Context, Permanent


def render(task: dict[str, Any], context: Context) -> dict[str, Any]:
    """Render a report page by page; files go to a folder of the attempt's own."""
    pages = int(task["pages"])
    if pages < 1:
        raise Permanent("the report has no pages")
    path = context.folder / "report.txt"
    with path.open("w") as file:
        for page in range(pages):
            context.progress(page / pages, f"page {page + 1} of {pages}")
            context.check()  # ends the attempt if somebody has stopped the task
            file.write(f"page {page + 1}\n")
    return {"report": task["report"], "lines": len(path.read_text().splitlines())}
