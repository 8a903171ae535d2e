"""The installation's API as the one that answers (`reconcile watch --listen`): no process is started for a question."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.client.answers import Program
from reconciler.client.errors import NotAsked, NotConfigured, Refused, Unavailable
from reconciler.client.marks import LABEL
from reconciler.client.patience import Circuit, Patience
from reconciler.client.place import Place, elsewhere

if TYPE_CHECKING:
    import httpx

URL, TOKEN = "MLOPS_API", "MLOPS_TOKEN"
"""Environment variables: where the API is (`http://127.0.0.1:8480`), and the token that it is asked with."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BUSY = (408, 429, 500, 502, 503, 504)
PAGE = 500


def configured(project: str) -> Place:
    """The place of a project whose installation is not checked out here, as its API tells it. Raises NotConfigured, also where the API does
    not answer: without it nothing is known."""
    if not re.fullmatch(LABEL, project):
        raise NotConfigured("which project is meant is not said", hint="from_project(NAME), or set MLOPS_PROJECT")
    try:
        told = Asked(os.environ.get(URL, ""), Circuit(Patience())).get(f"/projects/{project}/client", {})
    except (Unavailable, Refused, NotAsked) as error:
        raise NotConfigured(error.message, hint=error.hint or "a folder with the installation's manifests tells it as well") from None
    services = {name: {"managed": False, "endpoint": told[name]} for name in ("mlflow", "gateway") if told.get(name)}
    here, installation = Path.cwd(), str(told["installation"])
    return Place(project, here, elsewhere(installation), here, installation, services, checkout=False)


class Api:
    """Answers over HTTP, tried again while there are none. Raises Unavailable then, Refused when the token may not, and NotAsked for a
    question that makes no sense. What takes manifests is left to the program beside the checkout."""

    def __init__(self, place: Place, url: str, circuit: Circuit) -> None:
        self._place, self._asked = place, Asked(url, circuit)

    def status(self, kinds: Sequence[str] = ()) -> Mapping[str, Any]:
        """Every resource of the project as the last pass left it."""
        found: list[Any] = []
        after: str | None = None
        while True:
            asked = {"project": self._place.project, "kind": list(kinds), "limit": PAGE, **({"after": after} if after else {})}
            page = self._asked.get("/resources", asked)
            found += page["items"]
            after = page["next"]
            if after is None:
                return {"resources": found}

    def fits(self, wanted: Mapping[str, str]) -> Mapping[str, Any]:
        """What admission would say of work that asks for this."""
        return self._asked.get("/fits", {"project": self._place.project, **wanted})

    def mistakes(self, root: Path) -> Sequence[Mapping[str, Any]]:
        """Errors in the manifests below another root, which is on this machine: the program reads it."""
        return Program(self._place).mistakes(root)


class Asked:
    """One API over HTTP, as it was told who asks."""

    def __init__(self, url: str, circuit: Circuit) -> None:
        self._url, self._circuit = base(url), circuit

    def get(self, path: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer, tried again while there is none. Raises Unavailable, Refused, NotAsked."""
        return self._circuit.call(lambda: self._once(path, asked))

    def _once(self, path: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        import httpx

        patience, token = self._circuit.patience, os.environ.get(TOKEN, "")
        timeout = httpx.Timeout(patience.timeout, connect=patience.connect)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            # trust_env off: a proxy of the shell must not see the token; a redirect is not followed with it either
            with httpx.Client(timeout=timeout, trust_env=False, verify=self._url.startswith("https")) as client:
                return _answer(client.get(f"{self._url}/api/v1{path}", params=asked, headers=headers))
        except httpx.TransportError as error:
            hint = f"`reconcile watch --listen` answers there; {URL} says where"
            raise Unavailable(f"the API does not answer at {self._url}: {type(error).__name__}", hint=hint) from None


def _answer(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    told = body if isinstance(body, dict) else {}
    if response.status_code == 200 and told:
        return told
    said = str(told.get("detail") or f"status {response.status_code}")[:500]
    if response.status_code in BUSY:
        raise Unavailable(f"the API is busy: {said}")
    if response.status_code in (401, 403):
        raise Refused(f"the API lets us not in: {said}", hint=TOKEN, code=str(response.status_code))
    raise NotAsked(f"the API says: {said}")


def base(url: str) -> str:
    """The address, without what follows it. Raises NotConfigured for one that a token must not be sent to."""
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not safe or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise NotConfigured(f"{URL} is not an address that is asked", hint="https://HOST, or http://127.0.0.1:PORT on this machine")
    return url.rstrip("/").removesuffix("/api/v1")
