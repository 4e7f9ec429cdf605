"""Models, with one small protocol per kind: parsers, translators, sentence encoders, detectors."""
