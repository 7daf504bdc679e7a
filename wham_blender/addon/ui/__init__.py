"""Drawing code shared by panels and operators: wrapped text, options, presets, explanations of errors."""
