"""Caption parsers: turn captions into scene graphs."""
