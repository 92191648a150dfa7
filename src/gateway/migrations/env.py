"""Run by Alembic for every command, in the transaction that `gateway.migrations` opened."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from consent.database import Instant
from gateway.migrations import METADATA


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our column type as what it is stored as: a revision must not change when our classes do."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Instant) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=list(METADATA),
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
