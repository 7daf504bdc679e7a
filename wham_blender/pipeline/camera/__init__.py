"""Camera motion from the background."""
