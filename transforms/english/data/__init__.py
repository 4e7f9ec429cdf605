"""Data of `transforms/english/wordnet.py`, the script that makes it, and its licence."""
