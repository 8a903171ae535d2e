"""Random faults against a real loop over real tools: the tools end as declared, with no twin, no orphan, nothing deleted that nobody asked
for, and no secret in any file. docs/faults.md has the long form."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.rounds import Campaign, table
from tests.campaign.site import Site
from tests.contract.git_lab import serving

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("mlflow")
SEED = 11
"""Of the short form: any other one will do as well."""


@pytest.fixture
def site(mlflow_url: str) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    found = Site(folder, mlflow_url)
    with serving(found.git):
        found.wire.up()
        try:
            yield found
        finally:
            found.close()
            shutil.rmtree(folder, ignore_errors=True)


def test_what_is_declared_survives_two_dozen_faults(site: Site) -> None:
    said: list[str] = []
    campaign = Campaign(site, SEED, 25, say=said.append)
    campaign.run()
    assert not [each for one in campaign.rounds for each in one.violations], "\n".join([f"seed {SEED}", *said])
    assert sum(site.wire.hurt.values()) > 0, "no request was harmed"
    print("\n".join(table(campaign.rounds)))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_what_is_declared_survives_hundreds_of_faults(store: str) -> None:
    argv = [sys.executable, "-m", "tests.campaign", "--faults", "500", "--store", store]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
