"""Phrase- and word-level hard negatives: one node of a caption's scene graph is replaced to make the caption false for its
image."""
