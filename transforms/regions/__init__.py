"""Image regions: detected, or imported from existing files."""
