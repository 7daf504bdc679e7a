"""The worker process: its Python environment, its installer, and running it in the background."""
