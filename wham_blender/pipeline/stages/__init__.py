"""The stages of a job in order, each cached on disk."""
