"""Developers' tools; nothing here ships in the extension."""
