"""Phrase- and word-level hard negatives: one node of a caption's scene graph replaced so that the caption becomes false of its
image."""
