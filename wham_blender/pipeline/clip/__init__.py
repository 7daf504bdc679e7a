"""Decoding a clip and reading its metadata."""
