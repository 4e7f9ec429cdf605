"""Nouns that make poor replacements: they have no distinct shape, or most pictures show them without a caption naming them."""

from __future__ import annotations

from transforms.english.words import COLOURS, FRAMES, MEASURES, PLACES

_WORDS = """
accessory air animal anything appliance area arm attire back background baggage barrier body breakfast building camera
case city clothes clothing cloud color colour conveyance countryside couple cover crowd dark day decor decoration design
dessert device dinner direction dish display distance door drive enclosure end equipment event eye face female field
floor food furniture game garb garment grass ground group habitat hair hand head house ingredient item kind leg light
line lot lunch machine male material meal mess middle motion name object obstacle one other outfit overhead part pass
pattern people person place plant point position post product reflection rest ride road room row scenery setting shade
shadow shape sitting sky snack someone something space spot standing street structure stuff stunt style sun sunlight
supply surface table thing time tool topping toy tree trick type vehicle view walk wall water waterway way weather wild
window word work
"""
# What nearly every picture of people, buildings or vehicles shows, without a caption that says so: "two men wearing pants".
_UNSAID = """
blouse button ceiling collar curb flooring jean jeans leaf neighborhood pant pants pavement pocket roof shirt shoe sill
sleeve sneaker sock stripe t-shirt terrain tire trousers wheel window windowsill zipper
"""
VAGUE = FRAMES | PLACES | COLOURS | frozenset(MEASURES) | frozenset((_WORDS + _UNSAID).split()) | {"front view"}
