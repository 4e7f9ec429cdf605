"""The `trials` table: the items of public test sets, in a common form.

scheme: `choice`, one image, of whose captions only the first is true; `group`, as many captions as images, each true only of the image at
its position (Winoground); `retrieval`, one image, whose captions are true of it and of no other image in the set.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import TABLE_KEY, VERSION_KEY


def _strings() -> pa.ListType:
    return pa.list_(pa.field("item", pa.string(), nullable=False))


TRIALS = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),  # sugarcrepe, aro, winoground, karpathy
        pa.field("kind", pa.string(), nullable=False),  # the set's own name: replace_att, relation, test ...
        pa.field("scheme", pa.string(), nullable=False),
        pa.field("images", _strings(), nullable=False),  # file names, as in the set
        pa.field("box", pa.list_(pa.float32(), 4)),  # x, y, width, height (px) of the part to show; null: the whole image
        pa.field("captions", _strings(), nullable=False),
        pa.field("group", pa.string()),  # ARO's relation or pair of attributes, Winoground's tag; else null
    ],
    metadata={TABLE_KEY: "trials", VERSION_KEY: "2"},
)
