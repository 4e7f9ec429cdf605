"""Examples as a trainer reads them: the join of everything made for a pair, and the token ids of its texts."""
