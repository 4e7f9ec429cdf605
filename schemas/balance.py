"""The intermediate tables of blind balance: swap candidates, and which of them were selected."""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import REWRITES, column, table_schema

# A row of `rewrites`, with the true text that must be kept with it. Null: the candidate is balanced against its caption.
COUNTERPART = (
    column("true_text", pa.string(), nullable=True),
    column("true_edits", REWRITES.field("edits").type, nullable=True),
    column("true_origin", pa.string(), nullable=True),
    column("true_truth", pa.float32(), nullable=True),
)
CANDIDATES = table_schema("candidates", 2, [*REWRITES, *COUNTERPART])

# A pair's candidates, in order: whether each is kept. A cell's rows are in the partition in which the cell begins.
SELECTION = table_schema("selection", 1, [column("pair_id", pa.string()), column("kept", pa.list_(pa.bool_()))])
