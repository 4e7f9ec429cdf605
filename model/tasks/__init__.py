"""What a pretrained network is fine-tuned for, one task a file; see `model.tasks.base`, and `docs/tasks.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model, model_serializer

from model.objectives.base import Objective
from model.tasks.base import Task
from model.tasks.cnn_dm import CnnDm
from model.tasks.coco_captions import CocoCaptions
from model.tasks.cola import Cola
from model.tasks.coqa import Coqa
from model.tasks.gigaword import Gigaword
from model.tasks.mnli import Mnli
from model.tasks.nlvr2 import Nlvr2
from model.tasks.refexp import Refexp
from model.tasks.retrieval import Retrieval
from model.tasks.rte import Rte
from model.tasks.snli_ve import SnliVe
from model.tasks.squad_qg import SquadQg
from model.tasks.sst2 import Sst2
from model.tasks.stsb import Stsb
from model.tasks.vcr import Vcr
from model.tasks.vqa import Vqa
from schemas.settings import Settings

TASKS: dict[str, type[Objective]] = {
    kind.name: kind
    for kind in (Retrieval, Sst2, Cola, Mnli, Stsb, Rte, Vqa, SnliVe, Nlvr2, Refexp, Vcr, CocoCaptions, CnnDm, Gigaword, SquadQg, Coqa)
}


class _Settings(Settings):
    @model_serializer(mode="wrap")
    def _without_others(self, handler: Any) -> dict[str, Any]:
        """Leaves out tasks that are not set, so that a new one does not change what identifies a run."""
        return {key: value for key, value in handler(self).items() if value is not None or key not in TASKS}


if TYPE_CHECKING:
    SettingsOfTasks = _Settings
else:  # a key for each task; one that reads files has no settings by default, since it requires a folder
    SettingsOfTasks = create_model(
        "SettingsOfTasks",
        __base__=_Settings,
        **{
            name: (kind.settings_type | None, Field(None if issubclass(kind, Task) else kind.settings_type(), description=f"task: {name}"))
            for name, kind in TASKS.items()
        },
    )


def task_of(settings: Any) -> Objective:
    """The task of a training's settings."""
    return TASKS[settings.task](getattr(settings, settings.task))
