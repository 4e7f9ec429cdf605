"""Data of `transforms/lexicon.py`, the script that makes it, and its licence."""
