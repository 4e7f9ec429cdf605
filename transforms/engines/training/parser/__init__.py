"""Training of the embedded parser: a treebank converted to spaCy's labels, phrase data, a configuration and a seed."""
