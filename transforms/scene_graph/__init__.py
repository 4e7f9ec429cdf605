"""Scene graphs of captions with exact character spans, by rules over spaCy dependency trees."""
