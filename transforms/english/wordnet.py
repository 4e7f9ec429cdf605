"""Semantic relations between words, from WordNet 3.0 (Miller 1995; `data/` has the table, its licence and the script that makes
it).

Words are lower-case lemmas, compounds separated by spaces ("fire hydrant"). A compound that WordNet does not list has the senses
of its last word. Parts of speech: "n", "v", "a".
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

TABLE = Path(__file__).parent / "data" / "wordnet.tsv.gz"
# Lexicographer files of things visible in photographs; nouns use other senses only if they have none of these.
PHYSICAL = frozenset({"noun.animal", "noun.artifact", "noun.body", "noun.food", "noun.location", "noun.object", "noun.person",
                      "noun.phenomenon", "noun.plant", "noun.shape", "noun.substance", "noun.group", "noun.Tops"})  # fmt: skip

# Words that WordNet 3.0 lacks or separates too finely for photographs. The words of a set count as synonyms; in a set that starts
# with ">", only the first word and each of the others do.
_CLOSE: dict[str, tuple[str, ...]] = {
    "n": (
        "tv television telly|tv set|television set|flat screen",
        "plane airplane aeroplane aircraft jet jetliner airliner|jumbo jet",
        "cellphone phone telephone smartphone|cell phone|mobile phone", "bike bicycle cycle", "motorbike motorcycle bike moped",
        "couch sofa loveseat settee|love seat", "fridge refrigerator|ice box", ">picture photo photograph image painting",
        "street road roadway highway lane avenue path pavement asphalt", "sidewalk pavement walkway path", "rug carpet mat",
        "stove oven range|gas stove", "cup mug", "plate dish saucer platter", "kid child youngster toddler baby infant",
        "man guy gentleman dude male person fellow", "woman lady female gal person", ">boy kid child male",
        ">girl kid child female",
        ">person people man woman boy girl child player rider surfer skier snowboarder skateboarder pedestrian",
        "people crowd group",
        "hat cap helmet", "jacket coat", ">pants trousers jeans", ">shirt t-shirt top jersey tee blouse sweater",
        ">sofa chair couch seat",
        "sneaker shoe boot", ">bag backpack purse handbag luggage suitcase", "boat ship vessel",
        ">car automobile vehicle sedan taxi cab",
        ">truck lorry pickup vehicle van", "ocean sea water surf wave", "lake water pond river", "beach shore sand coast",
        "hill mountain slope hillside mountainside", "cliff ledge",
        ">forest woods tree", "grass lawn field meadow pasture", "bush shrub plant hedge", "flower plant", "desk table counter",
        "counter countertop table", "monitor screen computer laptop", "donut doughnut pastry",
        "racket racquet|tennis racket|tennis racquet",
        "store shop", ">building house structure", ">room bedroom kitchen bathroom|living room|dining room|hotel room",
        "snow slope",
        "meal food dish", "dog puppy", "cat kitten kitty", "cow cattle bull calf", "horse pony",
        ">bird duck goose pigeon seagull parrot",
        "sheep lamb goat", "bear cub", "laptop computer notebook|laptop computer", "curtain drape",
        "sign signage|street sign|stop sign",
        "umbrella parasol", ">basket bin container", ">bowl dish container", "glass cup drink|wine glass", "court|tennis court",
        "train locomotive engine", "bathroom restroom toilet", "toilet commode", "light lamp", "clock watch", "skateboard board",
        "surfboard board", "snowboard board", "ski skis", "city town street", "park field yard garden", "air sky", ">sky cloud",
        "rock stone boulder", "fence rail railing gate", "house home building", ">cake dessert", "pole post", "back side", "wood log",
        "frisbee disc disk", "teddy|teddy bear|stuffed animal|toy", ">toy doll ball kite balloon", ">pet dog cat puppy kitten",
        ">seat chair sofa couch bench stool", ">adult man woman",
        ">fruit apple banana orange", "vase pot jar", "pot pan", ">knife utensil", "floor ground",
        ">ground dirt grass sand", "night dark", "parking lot|lot", ">hand finger arm", "face head", "fur hair",
        "cell phone|phone",
        "veggie vegetable", "sandwich burger hamburger", ">batter player", ">catcher player", ">umpire player",
        "track railroad rail",
        ">container box", "computer pc desktop|desktop computer", ">outfit clothes dress suit uniform", "trunk branch",
        "shelf bookshelf rack",
        "airport runway tarmac", "station platform", "cart wagon carriage buggy", "sink basin", "tub bathtub", "cabinet cupboard",
        ">area place",
        "tablecloth cloth", "hay straw grass", "mirror glass", "couple pair people", "baseball ball", ">ball sphere",
        "soccer ball|ball",
    ),
    "a": (
        "gray grey silver", "blond blonde yellow golden", "large big huge giant tall enormous massive",
        ">small little tiny short young",
        "wooden wood brown", "metal metallic silver steel", "multicolored multi-colored colorful colourful",
        "tan beige brown cream khaki",
        "gold golden yellow", ">orange red", ">pink red purple", "purple violet lavender", "stripped striped",
        ">white cream ivory",
        ">blue teal turquoise navy", "dark black", ">light bright white", "young little", ">old older elderly vintage antique",
        "wet rainy",
        ">snowy snow-covered snowy white", "snow-covered snowy snow", "grassy green lush", "cloudy overcast gray", "empty vacant",
        "crowded busy full", "clean neat tidy", "dirty messy cluttered", ">long tall", "parked stopped", "several many",
        "fresh new",
        "pretty beautiful nice lovely", "cute adorable", "high tall", "double decker double-decker double", ">brick red",
        "stuffed toy",
        "sliced cut chopped", "cooked baked grilled fried", "modern new", "plain white", "round circular", "black dark",
        "green leafy",
    ),
    "v": (
        "hold carry grab grip grasp use", "stand wait pose", "sit rest relax", "lay lie rest sleep", "wear have",
        "ride drive sit|ride on",
        "walk stroll go cross move", "run jog race", "look watch stare face gaze view see observe",
        "eat chew bite graze munch feed",
        "hang suspend", "park stop sit", "fly soar", "play participate compete", "hit swing strike", "throw toss pitch",
        "catch grab reach",
        "surround line", "cover fill top", "jump leap fly", "talk speak chat", "drink sip", "pull tow drag", "cut slice",
        "make prepare cook",
        "travel move drive go", "serve hit", "show display", "contain hold have", "fill cover", "smile laugh", "lead walk",
        "push ride",
        "fly hold", "put place", "kick play", "do perform", "attempt try", "sail float", "float swim", "swim wade", "graze stand",
        "lean stand",
    ),
}  # fmt: skip


class Lexicon:
    """Senses with their hypernyms, synonyms and antonyms. Read-only; share one instance per process (`lexicon()`)."""

    def __init__(self, path: Path = TABLE):
        """Loads the table. Raises FileNotFoundError if it does not exist."""
        self.fingerprint = sha256(path.read_bytes()).hexdigest()[:32]
        self._hypernyms: dict[str, tuple[str, ...]] = {}
        self._antonyms: dict[str, tuple[str, ...]] = {}
        self._similar: dict[str, tuple[str, ...]] = {}
        self._lexnames: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        senses: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                pos, id_, lexname, above, against, beside, words = line.rstrip("\n").split("\t")
                key = pos + id_
                self._lexnames[key] = lexname
                self._hypernyms[key] = tuple(pos + other for other in above.split(",") if other)
                self._antonyms[key] = tuple(pos + other for other in against.split(",") if other)
                self._similar[key] = tuple(pos + other for other in beside.split(",") if other)
                for word in words.split():
                    lemma, sense, count = word.rsplit(":", 2)
                    lemma = lemma.replace("_", " ")
                    senses.setdefault((pos, lemma), []).append((int(sense), key, int(count)))
                    self._members.setdefault(key, []).append(lemma)
        self._senses = {word: tuple(key for _, key, _ in sorted(found)) for word, found in senses.items()}
        self._counts = {word: {key: count for _, key, count in found} for word, found in senses.items()}
        self._close: dict[tuple[str, str], frozenset[str]] = {}
        for pos, groups in _CLOSE.items():
            for group in groups:
                first, *rest = group.removeprefix(">").split("|")
                words_ = [*first.split(), *rest]
                for one in words_:
                    near = words_ if one == words_[0] or not group.startswith(">") else words_[:1]
                    self._close[pos, one] = self._close.get((pos, one), frozenset()) | frozenset(near)
        self._ancestors: dict[str, dict[str, int]] = {}
        self._common_cache: dict[tuple[str, str], tuple[str, ...]] = {}

    def knows(self, word: str, pos: str = "n") -> bool:
        """Whether the word, or a compound's last word, has senses in any of the parts of speech ("nva": all)."""
        return any(self.senses(word, one) for one in pos)

    def lists(self, word: str, pos: str = "n") -> bool:
        """Whether the word, or the compound as a whole, has an entry."""
        return (pos, word) in self._senses

    def senses(self, word: str, pos: str = "n") -> tuple[str, ...]:
        """Synset keys of a word, most frequent first; for nouns that have senses of visible things, only those."""
        found = self._senses.get((pos, word))
        if found is None and " " in word:
            found = self._senses.get((pos, word.rsplit(" ", 1)[1]))
        if not found:
            return ()
        if pos == "n":
            seen = tuple(key for key in found if self._lexnames[key] in PHYSICAL)
            return seen or found
        return found

    def lexname(self, word: str, pos: str = "n") -> str:
        """The broad class of the word's first sense (noun.animal), "" for an unknown word."""
        found = self.senses(word, pos)
        return self._lexnames[found[0]] if found else ""

    def ancestors(self, key: str) -> dict[str, int]:
        """The hypernyms of a synset and itself, with their distances."""
        found = self._ancestors.get(key)
        if found is None:
            found, edge, distance = {key: 0}, [key], 0
            while edge:
                distance += 1
                edge = [above for one in edge for above in self._hypernyms[one] if above not in found]
                found.update(dict.fromkeys(edge, distance))
            self._ancestors[key] = found
        return found

    def common(self, word: str, pos: str) -> tuple[str, ...]:
        """Senses relevant to guards: the first three, and others with more than a tenth of the word's occurrences."""
        cached = self._common_cache.get((word, pos))
        if cached is None:
            counts = self._counts.get((pos, word), {})
            total = sum(counts.values()) or 1
            cached = self._common_cache[word, pos] = tuple(
                key for rank, key in enumerate(self.senses(word, pos)) if rank < 3 or counts.get(key, 0) / total > 0.1
            )
        return cached

    def close(self, a: str, b: str, pos: str = "n") -> bool:
        """Whether two words belong to one of the hand-made sets of look-alikes."""
        return b in self._close.get((pos, a), ()) or self._heads_close(a, b, pos)

    def _heads_close(self, a: str, b: str, pos: str) -> bool:
        if pos != "n" or not (" " in a or " " in b):
            return False
        one, other = a.rsplit(" ", 1)[-1], b.rsplit(" ", 1)[-1]
        return one == other or other in self._close.get((pos, one), ())

    def synonyms(self, a: str, b: str, pos: str = "n") -> bool:
        """Whether two words share a synset or are near-synonyms."""
        if a == b or self.close(a, b, pos):
            return True
        if set(self.common(a, pos)) & set(self.common(b, pos)):
            return True
        if pos == "a":
            own = {near for key in self.senses(a, pos)[:2] for near in (key, *self._similar[key])}
            return bool(own & set(self.senses(b, pos)[:2])) and not self.antonyms(a, b, pos)
        return False

    def hypernym(self, above: str, below: str, pos: str = "n") -> bool:
        """Whether a `below` may also be an `above` (a dog is an animal): one of their common senses is a hypernym of the other's."""
        upper = set(self.common(above, pos))
        return any(not upper.isdisjoint(self.ancestors(key)) for key in self.common(below, pos))

    def is_a(self, below: str, above: str, pos: str = "n") -> bool:
        """Whether every `below` is an `above` by WordNet alone, in the most frequent senses: the same synset or a hypernym."""
        upper = self.senses(above, pos)[:2]
        return below == above or any(key in self.ancestors(own) for own in self.senses(below, pos)[:1] for key in upper)

    def antonyms(self, a: str, b: str, pos: str = "a") -> bool:
        """Whether the words are antonyms; adjectives also indirectly, through their clusters."""
        theirs = set(self.senses(b, pos))
        for key in self.senses(a, pos):
            against = self._antonyms[key]
            if not theirs.isdisjoint(against) or any(not theirs.isdisjoint(self._similar.get(far, ())) for far in against):
                return True
        return False

    def similarity(self, a: str, b: str, pos: str = "n") -> float:
        """Wu-Palmer similarity (1994) of the first two senses, 0 to 1: 2 d(common) / (d(a) + d(b)), d being the depth from the root."""
        ours, theirs = self.senses(a, pos)[:2], self.senses(b, pos)[:2]
        best = 0.0
        for one in ours:
            up = self.ancestors(one)
            for other in theirs:
                down = self.ancestors(other)
                shared = up.keys() & down.keys()
                if shared:
                    meeting = min(shared, key=lambda key: (up[key] + down[key], key))
                    depth = max(self.ancestors(meeting).values()) + 1
                    best = max(best, 2 * depth / (2 * depth + up[meeting] + down[meeting]))
        return best

    def co_hyponyms(self, word: str, pos: str = "n") -> set[str]:
        """Words that share a direct hypernym with the word's first sense, except its synonyms."""
        found = self.senses(word, pos)[:1]
        above = {upper for key in found for upper in self._hypernyms[key]}
        beside = {key for key, uppers in self._hypernyms.items() if not above.isdisjoint(uppers)} - set(found)
        return {lemma for key in beside for lemma in self._members.get(key, ())} - {word}

    def all_synonyms(self, word: str, pos: str = "n") -> set[str]:
        """All words that share a common sense or a set of look-alikes with this one."""
        found = {lemma for key in self.common(word, pos) for lemma in self._members.get(key, ())}
        return (found | self._close.get((pos, word), frozenset())) - {word}

    def all_hypernyms(self, words: Iterable[str], pos: str = "n") -> set[str]:
        """All hypernyms of these words in their common senses, up to four steps."""
        found: set[str] = set()
        for word in words:
            for key in self.common(word, pos):
                for upper, distance in self.ancestors(key).items():
                    if 0 < distance <= 4:
                        found.update(self._members.get(upper, ()))
        return found


@cache
def lexicon() -> Lexicon:
    """The lexicon, loaded once per process."""
    return Lexicon()
