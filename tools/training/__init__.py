"""Makes the open weights: the body, the per-frame lifter and the small WHAM network."""
