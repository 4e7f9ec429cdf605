"""The data of `transforms/english/wordnet.py`, its licence and the script that generates it."""
