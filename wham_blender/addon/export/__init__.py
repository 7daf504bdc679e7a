"""Export of a character's motion for game engines and other programs."""
