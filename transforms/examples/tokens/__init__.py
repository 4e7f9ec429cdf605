"""The corpus's tokenizer and the token ids of all its texts."""
