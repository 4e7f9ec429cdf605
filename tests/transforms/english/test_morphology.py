"""Plurals, verb forms, articles and lemmas, mainly of irregular words in captions."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.english.morphology import INVARIANT, article, inflect, inflections, lemmas, like, plural
from transforms.english.wordnet import lexicon

PLURALS = dict(
    pair.split(":")
    for pair in """
bookshelf:bookshelves shelf:shelves wolf:wolves werewolf:werewolves child:children grandchild:grandchildren stepchild:stepchildren man:men
woman:women fireman:firemen policeman:policemen businesswoman:businesswomen snowman:snowmen cameraman:cameramen frenchman:frenchmen
person:people foot:feet forefoot:forefeet tooth:teeth goose:geese mongoose:mongooses mouse:mice knife:knives penknife:penknives leaf:leaves
loaf:loaves meatloaf:meatloaves half:halves calf:calves wife:wives housewife:housewives life:lives scarf:scarves hoof:hooves elf:elves
self:selves thief:thieves sheaf:sheaves ox:oxen die:dice potato:potatoes tomato:tomatoes mosquito:mosquitoes hero:heroes echo:echoes
volcano:volcanoes tornado:tornadoes mango:mangoes domino:dominoes photo:photos video:videos piano:pianos radio:radios kangaroo:kangaroos
zoo:zoos igloo:igloos tattoo:tattoos avocado:avocados taco:tacos burrito:burritos logo:logos studio:studios kimono:kimonos tuxedo:tuxedos
rhino:rhinos hippo:hippos disco:discos casino:casinos stereo:stereos silo:silos pesto:pestos roof:roofs cliff:cliffs giraffe:giraffes
chief:chiefs reef:reefs safe:safes handkerchief:handkerchiefs cafe:cafes bus:buses minibus:minibuses gas:gases lens:lenses glass:glasses
wineglass:wineglasses dress:dresses mattress:mattresses waitress:waitresses actress:actresses boss:bosses iris:irises canvas:canvases
atlas:atlases cactus:cactuses octopus:octopuses walrus:walruses platypus:platypuses hippopotamus:hippopotamuses virus:viruses
circus:circuses campus:campuses bonus:bonuses quiz:quizzes box:boxes fox:foxes bench:benches church:churches match:matches couch:couches
ostrich:ostriches stomach:stomachs monarch:monarchs dish:dishes brush:brushes toothbrush:toothbrushes city:cities baby:babies puppy:puppies
lady:ladies pony:ponies cherry:cherries butterfly:butterflies fly:flies boy:boys monkey:monkeys donkey:donkeys turkey:turkeys key:keys
valley:valleys jersey:jerseys trolley:trolleys chimney:chimneys ski:skis taxi:taxis kiwi:kiwis bikini:bikinis safari:safaris spaghetti:spaghetti
basis:bases crisis:crises oasis:oases axis:axes analysis:analyses phenomenon:phenomena criterion:criteria medium:media
stadium:stadiums aquarium:aquariums museum:museums antenna:antennas formula:formulas human:humans german:germans ottoman:ottomans
talisman:talismans shaman:shamans frisbee:frisbees selfie:selfies hoodie:hoodies onesie:onesies skateboarder:skateboarders
passer-by:passers-by mother-in-law:mothers-in-law runner-up:runners-up merry-go-round:merry-go-rounds close-up:close-ups t-shirt:t-shirts
8-year-old:8-year-olds can:cans TV:TVs SUV:SUVs DJ:DJs hour:hours unicorn:unicorns
""".split()
)
COMPOUNDS = {"MP3 player": "MP3 players", "fire hydrant": "fire hydrants", "teddy bear": "teddy bears", "wine glass": "wine glasses",
             "book shelf": "book shelves", "bird of prey": "birds of prey", "street sign": "street signs"}  # fmt: skip
# Already plural, plural only, or mass nouns.
SAME = """
skis glasses sunglasses scissors pants jeans trousers shorts leggings goggles binoculars pajamas clothes stairs headphones men children people
police cattle leaves teeth geese wolves knives dishes taxis series species sheep deer moose fish shrimp aircraft luggage furniture clothing
traffic equipment broccoli tennis police firemen kimonos earbuds
""".split()
# Lemma, past tense, past participle, gerund, third person.
VERBS = """
spread spread spread spreading spreads  shut shut shut shutting shuts  split split split splitting splits  cast cast cast casting casts
shed shed shed shedding sheds  put put put putting puts  cut cut cut cutting cuts  hit hit hit hitting hits  set set set setting sets
let let let letting lets  hurt hurt hurt hurting hurts  burst burst burst bursting bursts  sit sat sat sitting sits
stand stood stood standing stands  lie lay lain lying lies  lay laid laid laying lays  ride rode ridden riding rides
run ran run running runs  fly flew flown flying flies  hold held held holding holds  throw threw thrown throwing throws
catch caught caught catching catches  eat ate eaten eating eats  drink drank drunk drinking drinks  drive drove driven driving drives
swim swam swum swimming swims  swing swung swung swinging swings  hang hung hung hanging hangs  wear wore worn wearing wears
feed fed fed feeding feeds  sleep slept slept sleeping sleeps  read read read reading reads  write wrote written writing writes
draw drew drawn drawing draws  take took taken taking takes  make made made making makes  leave left left leaving leaves
lead led led leading leads  kneel knelt knelt kneeling kneels  spin spun spun spinning spins  grind ground ground grinding grinds
buy bought bought buying buys  sell sold sold selling sells  tie tied tied tying ties  have had had having has  be was been being is
see saw seen seeing sees  ski skied skied skiing skis  bite bit bitten biting bites  hide hid hidden hiding hides
slide slid slid sliding slides  tear tore torn tearing tears  blow blew blown blowing blows  grow grew grown growing grows
break broke broken breaking breaks  build built built building builds  steal stole stolen stealing steals  sing sang sung singing sings
fall fell fallen falling falls  come came come coming comes  become became become becoming becomes  go went gone going goes
do did done doing does  give gave given giving gives  get got gotten getting gets  show showed shown showing shows
shoot shot shot shooting shoots  bend bent bent bending bends  stick stuck stuck sticking sticks  freeze froze frozen freezing freezes
rise rose risen rising rises  lose lost lost losing loses  keep kept kept keeping keeps  beat beat beaten beating beats
think thought thought thinking thinks  begin began begun beginning begins  teach taught taught teaching teaches  know knew known knowing knows
hear heard heard hearing hears  win won won winning wins  shake shook shaken shaking shakes  sink sank sunk sinking sinks
speak spoke spoken speaking speaks  fight fought fought fighting fights  find found found finding finds  bring brought brought bringing brings
choose chose chosen choosing chooses  creep crept crept creeping creeps  dig dug dug digging digs  send sent sent sending sends
spend spent spent spending spends  sweep swept swept sweeping sweeps  weave wove woven weaving weaves  wind wound wound winding winds
strike struck struck striking strikes  string strung strung stringing strings  sting stung stung stinging stings  shine shone shone shining shines
say said said saying says  pay paid paid paying pays  tell told told telling tells  meet met met meeting meets  mean meant meant meaning means
shrink shrank shrunk shrinking shrinks  spring sprang sprung springing springs  ring rang rung ringing rings  bind bound bound binding binds
light lit lit lighting lights  lean leaned leaned leaning leans  leap leaped leaped leaping leaps  jump jumped jumped jumping jumps
stop stopped stopped stopping stops  grab grabbed grabbed grabbing grabs  hug hugged hugged hugging hugs  pet petted petted petting pets
squat squatted squatted squatting squats  equip equipped equipped equipping equips  control controlled controlled controlling controls
play played played playing plays  carry carried carried carrying carries  try tried tried trying tries  watch watched watched watching watches
wash washed washed washing washes  die died died dying dies  tow towed towed towing tows  fix fixed fixed fixing fixes
""".split()
ARTICLES = {
    "an": "apple|hour|hourglass|honest man|honorary guest|honour guard|heirloom|umbrella|umpire|unusual hat|unidentified man|uninhabited island|"
          "uphill road|urn|urban street|usher|orange|onion|oar|igloo|ear|eye|owl|MP3 player|mp3 player|SUV|suv|LED light|LCD screen|RV|rv|ATV|"
          "atv|ATM|FBI agent|NFL player|X-ray|x-ray|L-shaped couch|S-shaped road|A-frame|F-16|8-year-old|8-ball|8|80s car|18-wheeler|18th|11|"
          "11-year-old|11,000|1800s house|\"open\" sign|'80s car|iPod|ipod",
    "a": "dog|unicorn|uniform|unicycle|unique clock|university|union|united front|urinal|used car|useful tool|user|usual day|utensil|utility pole|"
         "ukulele|European man|euro|eucalyptus tree|ewe|one-way sign|one|onesie|once-white wall|ouija board|horse|hotel|TV|tv|T-shirt|t-shirt|"
         "U-turn|u-shaped desk|UFO|USB stick|USA shirt|PC|BMX bike|DVD|BMW|year|yellow bus|yo-yo|wrist|knife|7-year-old|10|12-foot board|100|110|"
         "180|1950s car|4x4|747|STOP sign|MAN|LOT|RED BUS|\"red\" sign|$5 bill|St. Bernard|B-52",
}  # fmt: skip


@pytest.mark.parametrize("noun, wanted", [*PLURALS.items(), *COMPOUNDS.items(), *((word, word) for word in SAME)])
def test_plurals(noun: str, wanted: str) -> None:
    assert plural(noun) == wanted and plural(wanted) == wanted
    if noun in PLURALS and noun.islower() and noun.isalpha():
        assert noun in lemmas(wanted)


@pytest.mark.parametrize("lemma, past, participle, gerund, third", [VERBS[at : at + 5] for at in range(0, len(VERBS), 5)])
def test_verb_forms(lemma: str, past: str, participle: str, gerund: str, third: str) -> None:
    forms = {"VB": lemma, "VBP": lemma, "VBD": past, "VBN": participle, "VBG": gerund, "VBZ": third}
    assert {tag: inflect(lemma, tag) for tag in forms} == forms
    assert all(lemma in lemmas(form) for form in forms.values())


@pytest.mark.parametrize("words, wanted", [(words, letter) for letter, listed in ARTICLES.items() for words in listed.split("|")])
def test_articles(words: str, wanted: str) -> None:
    assert article(words) == wanted


def test_the_lists_contain_two_hundred_irregular_words() -> None:
    regular = re.compile(r"(\w+):\1s")
    assert sum(not regular.fullmatch(f"{noun}:{wanted}") for noun, wanted in PLURALS.items()) + len(VERBS) // 5 > 200


def test_alternative_forms_are_known() -> None:
    assert {"lit", "lighted"} <= set(inflections("light", "VBD")) and inflections("be", "VBD") == ("was", "were")
    assert inflections("walk", "VB") == ("walk",) and INVARIANT == {plural(noun) for noun in INVARIANT}


def test_a_form_of_any_word_leads_back_to_it() -> None:
    known = [(pos, word) for pos, word in lexicon()._senses if word.isalpha() and word.islower() and len(word) > 2]
    missed = [word for pos, word in known if pos == "n" and word not in lemmas(plural(word))]
    missed += [word for pos, word in known if pos == "v" for tag in ("VBZ", "VBG", "VBD", "VBN") if word not in lemmas(inflect(word, tag))]
    assert len(known) > 20_000 and missed == []
    assert {"dog", "frisbee"} <= lemmas("dog-frisbee's")


@given(st.text(max_size=12))
def test_any_text_has_an_answer(text: str) -> None:
    assert article(text) in ("a", "an") and text in lemmas(text) and isinstance(plural(text), str)


def test_articles_agree_with_real_captions(shared_data: Path) -> None:
    notes = json.loads((shared_data / "coco_val2017" / "captions_val2017.json").read_text())["annotations"]
    texts = [note["caption"] for note in notes] + (shared_data / "multi30k" / "train.en").read_text().splitlines()
    written: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for letter, word in re.findall(r"\b([Aa]n?) (\w[\w'-]+)", text):
            written[word][letter.lower()] += 1
    common = {
        word: found.most_common(1)[0] for word, found in written.items() if found.total() >= 3 and len(found) == 1 or found.total() >= 10
    }
    wrong = {word: letter for word, (letter, _) in common.items() if article(word) != letter}
    assert len(common) > 1500 and len(wrong) <= 5, wrong


def test_forms_of_tagged_text_are_the_usual_ones(shared_data: Path) -> None:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in (shared_data / "ud_ewt" / "en_ewt-ud-test.conllu").read_text().splitlines():
        cells = line.split("\t")
        if len(cells) == 10 and cells[4] in ("NNS", "VBD", "VBN", "VBG", "VBZ") and cells[1].isalpha() and cells[1].islower():
            found[cells[2], cells[4]][cells[1]] += "Typo" not in cells[5] and "Abbr" not in cells[5]
    forms = {key: form.most_common(1)[0][0] for key, form in found.items() if form.total()}
    wrong = {key: form for key, form in forms.items() if (plural(key[0]) if key[1] == "NNS" else inflect(*key)) != form}
    assert len(forms) > 1000 and len(wrong) < 0.02 * len(forms), wrong


def test_capitals_are_those_of_the_model() -> None:
    assert like("Dog", "cat", True) == "Cat" and like("Dog", "cat", False) == "cat" and like("DOG", "cat", True) == "CAT"
