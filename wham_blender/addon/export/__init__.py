"""Exports a character's motion to files for game engines and other programs."""
