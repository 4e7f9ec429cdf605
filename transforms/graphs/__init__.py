"""Scene graphs of captions as a table, and the vocabulary counted from them."""
