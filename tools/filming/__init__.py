"""Films of the open body with known truth: motion capture, cameras as people hold them, places with parallax."""
