"""The limits of everything that is read from outside: files that users choose, downloads, messages, clips.

Each is well above what honest files have, and low enough that reading up to it takes less than 1 GB of memory and a few
seconds. They are checked against sizes in headers before memory is allocated. Standard library only.
"""

from __future__ import annotations

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30

# JSON and TOML.
JSON_BYTES = 4 * MB  # job.json of 200 people has 40 kB
JSON_VALUES = 50_000  # job.json of 1,000 people has 10,000; Python's reader keeps Blender waiting, in a thread, too
SETTINGS_BYTES = 64 * KB  # library.json, rates.json, location.json: a few entries each
MESSAGE_BYTES = 1 * MB  # one line of the worker's; a list of 1,000 people has 150 kB
TEXT = 5_000  # characters of a sentence, a line of the log or a path; a hundred sentences fit into a job.json
PEOPLE = 1_000  # listed of one clip; a film of two hours with many cuts has some hundred tracks
WARNINGS = 100  # kept of one job
CORRECTIONS = 1_000  # of each kind, made by hand to one clip
CORRECTIONS_BYTES = 1 * MB  # of their document: four kinds of 250 bytes each
BOX_FRAMES = 300  # through which a person is followed from a box drawn by hand: 1.4 MB each wait in memory
FARM_BYTES = 4 * GB  # of one file of a farm's job; the copy of a film of two hours, 1280 pixels large, has 3 GB
ANSWER_BYTES = 1 * MB  # of a farm's; the description of a job type has 3 kB
RIG_MAP_BYTES = 32 * KB  # the largest bundled map, Rigify's, has 4 kB; tomllib takes under 50 ms for so many bytes

# Zip archives, which .npz files and PyTorch's checkpoints are.
ZIP_DIRECTORY_BYTES = 4 * MB  # list of the members; ViT-H's checkpoints, the longest known, have 100 kB
ARRAY_DIMENSIONS = 8
ARRAYS_BYTES = 512 * MB  # of all arrays read from one .npz: SMPL with 300 shapes has 250 MB
STAGE_BYTES = 8 * GB  # of one stage's arrays, which the worker wrote itself: ten people in two hours of film have 4 GB

# Pickles: SMPL's body files, and the description of the tensors in PyTorch's checkpoints.
PICKLE_BYTES = 384 * MB  # of all values; SMPL with 300 shapes has 90 MB, twice where Python 3 wrote them as text
PICKLE_LINE_BYTES = 192 * MB  # of one text in protocol 0: escaped, the 50 MB of 300 shapes become 140 MB
PICKLE_STEPS = 1_000_000  # operations, of up to 250 bytes of memory each; YOLOv8x has 60,000
PICKLE_SECONDS = 3.0  # processor time; SMPL with 300 shapes in protocol 0, the slowest known, takes 0.5 s
CHECKPOINT_PICKLE_BYTES = 32 * MB  # of the member data.pkl; YOLOv8x's has 0.15 MB
COMPUTED_BYTES = (
    256 * MB
)  # of arrays of a body that have to be computed: sparse matrices, selections, other byte orders
BROADCAST_BYTES = 1 * GB  # by which all tensors may exceed their file: one number may stand for a tensor of any shape
NETWORK_LAYERS = 10_000  # of a YOLO's description; YOLOv8x has 365
NETWORK_REPEATS = 1_000  # of all layers in it together; YOLOv8x has 36
NETWORK_ACTIVATIONS = 256_000_000  # numbers, of all layers for 256 x 256 pixels; YOLOv8x has 67 million

# Downloads and looking through weight files.
DOWNLOAD_BYTES = 12 * GB  # of a file whose size is not known; four times the largest of Full quality, HMR2.0's 2.7 GB
MEMBER_BYTES = 1 * GB  # of a file unpacked from a downloaded archive; SMPL with 300 shapes has 250 MB
DISK_RESERVE_BYTES = 200 * MB  # stay free, so that Blender, its log and its autosaves can still be written
SEARCHED_FILES = 20_000  # files and folders below the folder that is searched for weights
RECOGNISE_SECONDS = 20.0  # for one weight file; from a disk, the largest takes a fraction of a second
SEARCH_SECONDS = 300.0  # for a folder with its subfolders, also on a slow network disk

# Motions, and the values in their files.
MOTION_BYTES = 512 * MB  # unpacked; eight hours of one person at 30 fps, more than Blender's memory could key
FRAME_RATES = (1e-3, 1e4)  # a second: a time lapse of a picture in a quarter of an hour, and the fastest cameras
CLIP_FRAME = 1 << 24  # the largest number of a frame, after six days at 30 fps
CLIP_SECONDS = 1e9
METRES = 1e6  # of a coordinate; float32 is off by centimetres beyond it
PIXELS = 1e9  # of a focal length or coordinate: a telescope's
POSE = 1e3  # radians of a rotation vector's components; a joint needs no more than 2 pi
BETAS = 100.0  # SMPL's shapes lie within 5
PICTURE_SIDE = 65536  # pixels; Blender renders no larger ones
FILE_NAME = 1024  # characters; file systems allow 255
BODY_VERTICES = 100_000  # of a body's mesh; SMPL has 6890
READING_SECONDS = 60.0  # for a motion and its bodies; from a disk, 250 MB of SMPL take a second

# Clips.
CLIP_LEAST_SIDE = 16  # pixels; the background tracker needs 15, and nobody can be recognised in so few
CLIP_MOST_SIDE = 16384  # pixels; the largest cameras' pictures have 12288
CLIP_PIXELS = 100_000_000  # of a frame; the largest cameras' have 80 million
CLIP_QUEUE_BYTES = 256 * MB  # of decoded pictures that wait for the networks
CLIP_PACKET_FRAMES = 64  # that one packet may hold; honest ones hold one
CLIP_GAP_SECONDS = 10.0  # between two frames, which become 300 rows; phones pause for a few seconds
CLIP_LEAST_FPS = 1.0  # on average; between slower pictures, nobody can be followed
PICTURE_BYTES = 1 * GB  # of one file of an image sequence; 100 megapixels of 16 bits with alpha have 800 MB
SEQUENCE_PICTURES = 100_000  # more than an hour at 24 a second; Blender asks for the state of each in a second
FOLDER_ENTRIES = 200_000  # files in the folder of an image sequence, which are listed in half a second
SEQUENCE_FPS = (1.0, 1000.0)  # slower, nobody can be followed; the networks look at 30 a second

# Batches.
BATCH_CLIPS = 100_000  # of one batch: ten times the largest that was asked for; their table has 20 MB
BATCH_LIST_BYTES = 64 * MB  # of a list of clips: 600 bytes a clip
