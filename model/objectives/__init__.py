"""The training objectives, one per file; each is a sum over countable items (`model.objectives.base`)."""

from model.objectives.base import Objective
from model.objectives.cmcl import Cmcl
from model.objectives.itm import Itm
from model.objectives.mlm import Mlm
from model.objectives.mrm import Mrc, MrcKl, Mrfr
from model.objectives.seq2seq import Seq2seq
from model.objectives.wra import Wra

OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in (Cmcl, Mlm, Mrfr, Mrc, MrcKl, Itm, Wra, Seq2seq)}
