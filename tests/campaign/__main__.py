"""`python -m tests.campaign`: throw faults at a real loop, and look at what is left. Ends with 1 when anything that must hold did not."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign.faults import KINDS
from tests.campaign.rounds import Campaign, table
from tests.campaign.site import Site, services_in
from tests.contract.git_lab import serving
from tests.contract.store_values import admin


def main() -> None:
    given = _given()
    if given.list:
        print("\n".join(KINDS))
        return
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    print(f"seed {given.seed}, {given.faults} faults, in {folder}", flush=True)
    services = services_in(folder / "services")
    site = Site(folder, services.endpoint("mlflow").url, services=services)
    if given.store == "postgresql":
        site.store = _database(site)
    began = time.monotonic()
    campaign = Campaign(site, given.seed, given.faults, given.only, seconds=given.seconds, say=lambda text: print(text, flush=True))
    try:
        with serving(site.git):
            site.wire.up()
            try:
                campaign.run(given.round)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            finally:
                site.close()
    finally:
        services.stop()
        bad = [each for each in campaign.rounds if each.violations]
        if given.keep and (bad or sys.exc_info()[0]):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *table(campaign.rounds)]))
    print(f"Seed {given.seed}, {time.monotonic() - began:.0f} s with an {'PostgreSQL' if site.store else 'SQLite'} Store.")
    for each in bad:
        print(f"again: python -m tests.campaign --seed {given.seed} --round {each.number} --faults {len(each.faults)}{_only(given.only)}")
    sys.exit(1 if bad else 0)


def _given() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    asked.add_argument("--faults", type=int, default=500, help="how many to throw [500]")
    asked.add_argument("--seed", type=int, default=random.SystemRandom().randint(0, 10**6), help="the same seed throws the same [random]")
    asked.add_argument("--seconds", type=float, help="no further round begins after so many")
    asked.add_argument("--only", default="", metavar="KIND", help="kinds whose name holds this; --list tells them")
    asked.add_argument("--round", type=int, default=0, help="begin with this round; those before are committed without a fault")
    asked.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    asked.add_argument("--keep", action="store_true", help="leave the folder where something went wrong")
    asked.add_argument("--list", action="store_true", help="the kinds of faults")
    return asked.parse_args()


def _database(site: Site) -> str:
    """A Store in the PostgreSQL that MLflow has too."""
    assert site.services is not None
    server = site.services.endpoint("postgres")
    with admin(server.for_database("postgres", "psycopg").url) as connection:
        connection.exec_driver_sql("CREATE DATABASE campaign")
    return server.for_database("campaign", "psycopg").url


def _only(only: str) -> str:
    return f" --only '{only}'" if only else ""


if __name__ == "__main__":
    main()
