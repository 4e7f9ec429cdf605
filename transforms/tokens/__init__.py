"""Tokens: the corpus' tokenizer, and the ids of all of its texts."""
