"""The configuration of a training: one YAML file, validated before any work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from model.batch import DataFacts
from model.data.collate import Wanted
from model.data.settings import NOT_ORDER, DataSettings
from model.masking import Masking
from model.objectives import OBJECTIVES, Objective
from model.objectives.base import ObjectiveSettings
from model.objectives.cmcl import CmclSettings
from model.objectives.mlm import MlmSettings
from model.objectives.mrm import MrmSettings
from model.objectives.wra import WraSettings
from model.optimizer import OptimizerSettings
from model.tasks import TASKS, SettingsOfTasks, task_of
from model.transformer import ModelSettings
from schemas.errors import ConfigError
from schemas.settings import Settings


class ObjectiveChoice(Settings):
    """The objectives of pretraining; null disables one."""

    cmcl: CmclSettings | None = Field(None, description="cross-modal contrastive learning")
    mlm: MlmSettings | None = Field(None, description="masked language modelling")
    mrfr: MrmSettings | None = Field(None, description="features of hidden regions")
    mrc: MrmSettings | None = Field(None, description="top classes of hidden regions")
    mrc_kl: MrmSettings | None = Field(None, description="soft labels of hidden regions")
    itm: ObjectiveSettings | None = Field(None, description="image-text matching")
    wra: WraSettings | None = Field(None, description="word-region alignment, on the sequences of itm")
    seq2seq: ObjectiveSettings | None = Field(None, description="generating fragments of texts")


class TrainSettings(SettingsOfTasks):
    """The settings of a training run; those of a task, under its name, come with `SettingsOfTasks`."""

    data: DataSettings = Field(description="the corpus, and how batches are drawn from it")
    output: str = Field(min_length=1, description="folder of checkpoints and logs; a run resumes from its newest checkpoint")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, dropout and all draws")
    model: ModelSettings = Field(default_factory=ModelSettings, description="the network")
    start: str | None = Field(
        None, description="weights to start from: a run's folder or checkpoint, or a RoBERTa, BERT (safetensors) or UNITER file"
    )
    masking: Masking = Field(default_factory=Masking, description="masking, and mismatches for itm")
    task: str = Field("pretrain", description="pretrain: the objectives; or what to fine-tune for")
    objectives: ObjectiveChoice = Field(default_factory=ObjectiveChoice, description="pretraining: the losses")
    mixing: Literal["sum", "one"] = Field("sum", description="weighted sum of all losses (UNIMO), or one objective per batch (UNITER)")
    steps: int | None = Field(None, ge=1, description="updates")
    flops: float | None = Field(
        None, gt=0, description="budget of operations, counted at every update; training ends when steps or flops is reached"
    )
    accumulate: int = Field(1, ge=1, description="batches per update")
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings, description="AdamW, warm-up and decay")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of forward passes; weights remain float32")
    compile: bool = Field(False, description="torch.compile the layers")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if there is a GPU")
    checkpoint_every: int = Field(1000, ge=1, description="updates between checkpoints; one is always written at the end")
    keep: int = Field(2, ge=1, description="number of checkpoints to keep")
    log_every: int = Field(10, ge=1, description="updates between log lines")
    tensorboard: bool = Field(True, description="also write TensorBoard event files")

    @field_validator("task")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "pretrain" and value not in TASKS:
            raise ValueError(f"must be pretrain, {', '.join(TASKS)}, not {value}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> TrainSettings:
        if self.steps is None and self.flops is None:
            raise ValueError("steps or flops is required, or training would not end")
        if self.flops and self.compile:
            raise ValueError("flops: operations of compiled layers cannot be counted: set steps instead, or compile: false")
        chosen = [name for name in OBJECTIVES if getattr(self.objectives, name) is not None]
        if self.task == "pretrain" and not chosen:
            raise ValueError(f"objectives: at least one of {', '.join(OBJECTIVES)} is required ({{}} for its defaults)")
        if self.task != "pretrain" and chosen:
            raise ValueError(f"objectives.{chosen[0]}: applies only to task: pretrain, not {self.task}")
        if self.task in TASKS and getattr(self, self.task) is None:
            raise ValueError(f"{self.task}: is required for task: {self.task}, with the folder of its files")
        if other := [name for name in TASKS if name != self.task and getattr(self, name) != type(self).model_fields[name].default]:
            raise ValueError(f"{other[0]}: applies only to task: {other[0]}, not {self.task}")
        if self.objectives.wra and not self.objectives.itm:
            raise ValueError("objectives.wra: requires objectives.itm, whose sequences it uses")
        return self


# Settings that may change on resuming: those of `start` and of a task's folder have been read, and rows are checked by the loader's state.
NOT_RESUMED = frozenset({"output", "start", "checkpoint_every", "keep", "log_every", "tensorboard", "device"})
NOT_RESUMED |= {f"data.{key}" for key in NOT_ORDER} | {f"{task}.folder" for task in TASKS}


def objectives_of(settings: TrainSettings, facts: DataFacts) -> list[Objective]:
    """The losses of a training. Raises ConfigError, naming the key, when they do not fit the data or the network."""
    _check_data(settings, facts)
    if settings.task in TASKS:
        chosen: list[Objective] = [task_of(settings)]
    else:
        chosen = [kind(held) for name, kind in OBJECTIVES.items() if (held := getattr(settings.objectives, name)) is not None]
    for objective in chosen:
        objective.check(facts)
    return chosen


def _check_data(settings: TrainSettings, facts: DataFacts) -> None:
    if facts.max_regions > settings.model.max_regions:
        raise ConfigError(
            f"model.max_regions: {settings.model.max_regions} is too few: an image of the corpus has {facts.max_regions} regions"
        )
    if facts.max_tokens > settings.model.positions:
        raise ConfigError(
            f"model.positions: {settings.model.positions} is too few: texts have up to {facts.max_tokens} tokens "
            f"(data.max_tokens: {settings.data.max_tokens})"
        )
    if not facts.features:
        raise ConfigError("corpus: has no regions, from which the width of the network's image features is taken")
    if not any(facts.rows.values()):
        raise ConfigError("corpus: has no rows to train on")
    for key in ("positives", "negatives", "matched_images", "matched_texts"):
        asked = getattr(settings.data, key)
        number = sum(asked.values()) if isinstance(asked, dict) else asked
        if key in settings.data.model_fields_set and number and not facts.drawn.get(key):
            raise ConfigError(f"data.{key}: {asked} per pair, but the corpus has none: set it to 0, or add them to the corpus")
    if "negatives" in settings.data.model_fields_set and facts.lacking:
        raise ConfigError(f"data.negatives: the corpus has none of the kind {facts.lacking[0]}: set it to 0, or add them to the corpus")
    needed = wanted(settings)
    if idle := sorted(set(settings.data.mix or ()) - needed.streams):
        raise ConfigError(f"data.mix: nothing that is trained uses {idle[0]}: leave it out, or add an objective that does")
    for key, name in (("tokens", needed.tokens), ("regions", needed.regions)):
        if name and not getattr(settings.masking, key):
            raise ConfigError(f"masking.{key}: 0 hides nothing, which an objective is to predict: raise it, or leave that objective out")


def wanted(settings: TrainSettings) -> Wanted:
    """What the objectives require from the loader."""
    chosen = settings.objectives
    masked = bool(chosen.cmcl and chosen.cmcl.masked)
    regions = [one for one in (chosen.mrfr, chosen.mrc, chosen.mrc_kl) if one]
    used = {stream for name, kind in OBJECTIVES.items() if getattr(chosen, name) is not None for stream in kind.streams}
    if settings.task in TASKS:
        used = set(TASKS[settings.task].streams)
    return Wanted(
        streams=frozenset(used),
        tokens=masked or bool(chosen.mlm) or any(one.joint for one in regions),
        regions=masked or bool(regions) or bool(chosen.mlm and chosen.mlm.joint),
        soft_labels=bool(chosen.mrc or chosen.mrc_kl),
        mismatch=bool(chosen.itm),
        fragments=bool(chosen.seq2seq),
        companions=bool(chosen.cmcl or chosen.itm and settings.masking.hard),
        masked_companions=masked,
    )
