"""Nouns that make poor replacements: they have no distinct shape, or most pictures show them without a caption naming them."""

from __future__ import annotations

from transforms.english.words import COLOURS, FRAMES, MEASURES, PLACES

_WORDS = """
air animal anything appliance area arm attire back background baggage barrier body breakfast building camera case city clothes
clothing cloud color colour conveyance couple cover crowd dark day decoration design dessert device dinner direction dish
display distance door drive enclosure end equipment event eye face female field floor food furniture game garb garment grass ground
group habitat hair hand head house ingredient item kind leg light line lot lunch machine male material meal middle motion name object
obstacle one other outfit overhead part pattern people person place plant position post product reflection road room row scenery setting
shade shadow shape sitting sky snack someone something space spot standing street structure stuff stunt style sun sunlight supply surface
table thing time tool topping toy tree trick type vehicle view wall water waterway way weather wild window word work
"""
VAGUE = FRAMES | PLACES | COLOURS | frozenset(MEASURES) | frozenset(_WORDS.split()) | {"front view"}
