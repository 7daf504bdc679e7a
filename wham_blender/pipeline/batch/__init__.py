"""Many clips at once: `command` finds the clips and gives them to processes, on this machine or a Ray cluster."""
