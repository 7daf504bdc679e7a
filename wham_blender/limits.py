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
STAGE_BYTES = 8 * GB  # of one stage's arrays, which the worker wrote itself: ten people in two hours of film have 4 GB

# Downloads and looking through weight files.
DOWNLOAD_BYTES = 12 * GB  # of a file whose size is not known; four times the largest of full quality, HMR2.0's 2.7 GB
MEMBER_BYTES = 1 * GB  # of a file unpacked from a downloaded archive; SMPL with 300 shapes has 250 MB
DISK_RESERVE_BYTES = 200 * MB  # stay free, so that Blender, its log and its autosaves can still be written
SEARCHED_FILES = 20_000  # files and folders below the folder that is searched for weights
RECOGNISE_SECONDS = 20.0  # for one weight file; from a disk, the largest takes a fraction of a second
SEARCH_SECONDS = 300.0  # for a folder with its subfolders, also on a slow network disk
