"""Motion onto characters with rigs of their own."""
