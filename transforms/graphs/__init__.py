"""Scene graphs of captions as a table, and the vocabulary counted over them."""
