"""Where this installation keeps its things, from the command line's environment (`MLOPS_*`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import ByteSize, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The few facts that are not in a manifest, because they must be known before one is read."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_", frozen=True)

    root: Path = Path()
    """The installation's root: project paths start here."""
    state_dir: Path | None = None
    """Private folder for the Store, the services' data and the DVC cache; unset = `.mlops` in the root."""
    store: str | None = None
    """SQLAlchemy URL of the Store; unset = SQLite in the state folder."""
    env: str = ""
    """The environment whose overlays are applied over the manifests; empty = the manifests as they are."""
    parallelism: PositiveInt = 8
    """How many tool calls may be under way at once."""
    log_size: ByteSize = ByteSize(10 << 20)
    """Bytes (`10MiB`) of a log, of the loop as of a service, after which it is begun anew."""
    log_files: PositiveInt = 4
    """Older files of each that are kept."""

    @property
    def state(self) -> Path:
        """The state folder, absolute and free of links: what is written into the tools' configuration must not depend on the way here."""
        return (self.state_dir or self.root / ".mlops").resolve()
