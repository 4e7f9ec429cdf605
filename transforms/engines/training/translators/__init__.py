"""Training of the embedded caption translators; run `make`."""
