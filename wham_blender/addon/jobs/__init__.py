"""Import jobs: their record on disk, the queue that runs them, and error reports."""
