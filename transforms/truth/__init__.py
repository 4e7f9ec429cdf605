"""How likely a text is true of an image: evidence from captions, scene graphs and labels, and a calibrated judge."""
