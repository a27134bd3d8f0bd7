"""The operator of the demo: it waits, and says how far it is; `context.run` would run ffmpeg."""

from typing import Any

from kafka_etl import Context


def transcode(task: dict[str, Any], context: Context) -> dict[str, Any]:
    """Take as many seconds as the film has."""
    seconds = task["seconds"]
    for done in range(seconds):
        context.progress(done / seconds, f"{done} of {seconds} s")
        context.stopped.wait(1)
        context.check()  # ends the attempt if somebody has stopped the task
    return {"film": task["film"], "made": task["film"].replace(".mov", ".webm")}
