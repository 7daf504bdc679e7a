"""The limits of everything that is read from outside: files that users choose, downloads, messages, clips.

Each is well above what honest files have, and low enough that reading up to it takes less than 1 GB of memory and a few
seconds. They are checked against sizes in headers before memory is allocated. Standard library only.
"""

from __future__ import annotations

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30

# JSON and TOML.
JSON_BYTES = 4 * MB  # job.json of 200 people has 40 kB
SETTINGS_BYTES = 64 * KB  # library.json, rates.json, location.json: a few entries each

# Zip archives, which .npz files and PyTorch's checkpoints are.
ZIP_DIRECTORY_BYTES = 4 * MB  # list of the members; ViT-H's checkpoints, the longest known, have 100 kB
ARRAY_DIMENSIONS = 8
ARRAYS_BYTES = 512 * MB  # of all arrays read from one .npz: SMPL with 300 shapes has 250 MB
