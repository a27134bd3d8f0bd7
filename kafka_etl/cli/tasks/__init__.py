"""`kafka-etl tasks`: see, submit, stop and repeat the tasks of a pipeline, from any machine."""

from __future__ import annotations

from kafka_etl.cli.groups import add, group

app = group("Tasks of pipelines with `mode: task`: long work to watch, stop and repeat.")
add(app, "list", "tasks.list:list_tasks", "List tasks.")
add(app, "show", "tasks.show:show", "Show everything about a task.")
add(app, "submit", "tasks.submit:submit", "Submit a task, and print its id.")
add(app, "stop", "tasks.orders:stop", "Stop tasks, by id or by filter.")
add(app, "retry", "tasks.orders:retry", "Run tasks once more, by id or by filter.")
add(app, "forget", "tasks.orders:forget", "Forget tasks that have ended.")
add(app, "wait", "tasks.wait:wait", "Wait until tasks have ended.")
add(app, "logs", "tasks.logs:logs", "Print what an attempt has printed and logged.")
add(app, "stack", "tasks.logs:stack", "Print the Python stacks of a running attempt.")
