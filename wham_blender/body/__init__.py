"""Bodies in the SMPL format, through smplx, and rotations."""
