"""How the embedded parser is made: a treebank converted to spaCy's labels, phrase data, a configuration and a seed."""
