"""Makes the open weights: the body, the per-frame lifter, the small WHAM network and its contact calibration."""
