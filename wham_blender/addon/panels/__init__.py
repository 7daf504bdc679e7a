"""The sidebar panels and the preferences."""
