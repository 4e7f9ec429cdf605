"""Translators: a batch of texts in, n-best translations with scores out (`base.Translator`), by specification (`load.translator`)."""
