"""Nouns that make poor replacements: they have no distinct shape, or most pictures show them without a caption naming them."""

from __future__ import annotations

from transforms.english.words import COLOURS, FRAMES, MEASURES, PLACES

_WORDS = """
air animal anything appliance area arm back background baggage barrier body breakfast building camera case city clothes
clothing cloud color colour conveyance couple cover crowd day decoration design dessert device dinner direction dish
display distance door end equipment event eye face field floor food furniture game grass ground group hair hand head
house ingredient item kind leg light line lot lunch machine material meal middle motion name object one other part
pattern people person place plant position post product reflection road room row scenery setting shade shadow shape
sitting sky snack someone something space standing street structure stuff style sun sunlight supply surface table thing
time tool topping toy tree trick type vehicle view wall water way weather window word work
"""
VAGUE = FRAMES | PLACES | COLOURS | frozenset(MEASURES) | frozenset(_WORDS.split()) | {"front view"}
