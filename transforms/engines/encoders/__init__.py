"""Sentence encoders: map texts to unit vectors (`sentence.SentenceEncoder`)."""
