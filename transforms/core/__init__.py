"""Base classes of stages and tasks, and the Beam transforms that run any stage."""
