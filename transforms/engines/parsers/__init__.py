"""Caption parsers: a batch of captions in, scene graphs out."""
