"""Detection, tracking and 2D keypoints of people."""
