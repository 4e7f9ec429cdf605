"""Translators: n-best translations with scores (`base.Translator`), loaded by specification (`load.translator`)."""
