"""`kafka-etl dlq`: dead letters as a tool."""

from __future__ import annotations

from kafka_etl.cli.groups import add, group

app = group("Dead letters: records that failed for good, and why.")
add(app, "list", "dlq.list:list_letters", "List the kinds, the most frequent first.")
add(app, "show", "dlq.show:show", "Show everything about one, or the newest ones.")
add(app, "debug", "dlq.debug:debug", "Run the operators on the record of one.")
add(app, "replay", "dlq.replay:replay", "Put them back, each exactly once.")
add(app, "drop", "dlq.drop:drop", "Mark them as dropped: they stay in the topic.")
add(app, "release", "dlq.release:release", "Give up a replay that was stopped.")
add(app, "actions", "dlq.drop:actions", "List bulk actions: who, when, why.")
add(app, "export", "dlq.export:export", "Write them as rows of flat columns.")
add(app, "import", "dlq.import_letters:import_letters", "Write those of a file back.")
