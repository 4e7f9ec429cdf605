"""Scripts that make the embedded weights."""
