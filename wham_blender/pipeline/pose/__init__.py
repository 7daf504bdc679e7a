"""From 2D keypoints and image features to 3D pose: the lifter, HMR2.0 and WHAM."""
