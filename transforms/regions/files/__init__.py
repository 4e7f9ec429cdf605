"""Existing files of region features: read safely, without unpickling, and written in a format that existing code reads."""
