"""Dead letters as a tool: find, understand, fix, put back.

- `statuses`: what became of each dead letter, in a compacted topic beside the letters.
- `index`: a local copy of what `list` and filters need, kept up to date from the topic.
"""
