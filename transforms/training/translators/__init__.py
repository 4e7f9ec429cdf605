"""Training of the embedded caption translators: `make` is the command."""
