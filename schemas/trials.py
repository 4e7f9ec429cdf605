"""The `trials` table: questions of public test sets, in one form.

scheme: `choice`, one image, of whose captions the first is true and the others are not; `group`, as many captions as images, each true of
the image at its position alone (Winoground); `retrieval`, one image, all captions true of it and of no other image of the set.
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
        pa.field("kind", pa.string(), nullable=False),  # the set's own: replace_att, relation, test ...
        pa.field("scheme", pa.string(), nullable=False),
        pa.field("images", _strings(), nullable=False),  # file names, as the set has them
        pa.field("box", pa.list_(pa.float32(), 4)),  # x, y, width, height in px of the only part that is shown; null: the whole image
        pa.field("captions", _strings(), nullable=False),
    ],
    metadata={TABLE_KEY: "trials", VERSION_KEY: "1"},
)
