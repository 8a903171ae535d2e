"""Alembic's environment of the Store, run by `reconciler.state.schema` when a Store is opened."""
