"""Alembic calls this file. The connection comes from `reconciler.state.schema`, already in a transaction that it commits."""

from __future__ import annotations

from alembic import context

from reconciler.state.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
