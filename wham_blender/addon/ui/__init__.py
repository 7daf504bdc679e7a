"""What panels and operators share for drawing: wrapped text, options, presets, explanations."""
