"""The corpus' tokenizer and the token ids of all its texts."""
