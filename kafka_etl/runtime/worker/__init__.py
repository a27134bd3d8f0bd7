"""The worker: one process, one member of the group, one transactional producer."""
