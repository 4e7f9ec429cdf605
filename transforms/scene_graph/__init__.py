"""Scene graphs of captions with exact character spans: rules over spaCy's dependency trees."""
