"""The text of a service file that runs `reconcile watch` unattended: a systemd user unit, or a launchd agent. Pure; installs nothing.

Ending the loop must end the loop only: the shared services and the runs are found again by the next one. They have sessions of their own,
which is enough for a terminal and for launchd, but systemd ends whatever is left in a unit's control group, unless `KillMode=process`."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
"""What a service may be called: a file name in both systems, and no end of an XML comment."""
PAUSE_SECONDS = 30
"""Before it is started again after a failure. A pass that fails does not end the loop, which waits longer each time by itself."""
STOP_SECONDS = 120
"""For what is being written when it is asked to stop; then it is killed, and the journal tells the next loop what was under way."""
_UNTOLD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What cannot be written, or not safely, into both kinds of file."""
_REFUSED = re.compile(r"[\"'\\]")
"""What systemd does not take in the path of a program, however it is quoted; in an argument it does."""
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


@dataclass(frozen=True)
class Service:
    """What is to be run, and how. Paths are absolute."""

    name: str
    argv: tuple[str, ...]
    folder: str
    """The installation's root."""
    env: Mapping[str, str]
    """Nothing secret."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variables that it needs besides -> why they are not in `env`."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            hint = "use letters, digits and single dots, dashes or underscores between them"
            raise UsageError(f"'{self.name}' cannot be the name of a service", hint=hint)
        for word in (self.folder, *self.argv, *self.env.values()):
            if found := _UNTOLD.search(word):
                raise UsageError(f"{word!r} cannot stand in a service file", hint=f"the character {found[0]!r} is not text")

    @property
    def secrets_file(self) -> str:
        """Where the variables of `secrets` are looked for, below the user's folder for settings."""
        return f"mlops-reconciler/{self.name}.env"


# --- systemd -------------------------------------------------------------------------------------------------------------


def systemd(service: Service) -> str:
    """The unit, for `~/.config/systemd/user/NAME.service`."""
    lines = [
        *(
            "# `reconcile watch` for one installation. Written by `reconcile service install --print`; write it again rather than edit it.",
            "",
        ),
        *("[Unit]", f"Description=mlops-reconciler ({service.name})"),
        *("# However often it fails, it is tried again.", "StartLimitIntervalSec=0", ""),
        *("[Service]", "Type=exec", f"WorkingDirectory={_folder(service.folder)}", f"ExecStart={_command(service.argv)}"),
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(service.env.items())),
        *_secrets(service),
        *_SYSTEMD.splitlines(),
        f"SyslogIdentifier={service.name}",
        *("", "[Install]", "WantedBy=default.target"),
    ]
    return "\n".join(lines) + "\n"


_SYSTEMD = f"""
# SIGTERM is a wanted stop: it ends with 0 once what is being written is finished, and stays ended. After anything else it comes back.
Restart=on-failure
RestartSec={PAUSE_SECONDS}
KillSignal=SIGTERM
TimeoutStopSec={STOP_SECONDS}
# Stopping ends the loop alone. The shared services and the runs are in this control group too and must outlive it; the next loop finds
# them again, and `reconcile platform down` stops the services. (systemd's default would kill them all.)
KillMode=process
# A training that the kernel ends for want of memory is that training's failure, no reason to stop the loop.
OOMPolicy=continue

# No PrivateTmp, ProtectHome or ProtectSystem: the runs are people's programs, and sockets of the services are in /tmp.
NoNewPrivileges=yes
# What it writes is its user's alone. Take this out where a DVC remote is a folder that others read.
UMask=0077
StandardOutput=journal
StandardError=journal
"""


def _secrets(service: Service) -> Iterator[str]:
    place = f"%E/{service.secrets_file}"
    if not service.secrets:
        yield f"# Further variables, such as UV_INDEX_URL or a proxy: NAME='value' in ~/.config/{service.secrets_file}, mode 0600."
        yield f"EnvironmentFile=-{place}"
        return
    yield "# Left out here, because this file is no place for secrets:"
    yield from (f"#   {name}: {why}" for name, why in sorted(service.secrets.items()))
    yield f"# Put them as NAME='value' into ~/.config/{service.secrets_file}, mode 0600. Without that file it does not start."
    yield f"EnvironmentFile={place}"


def _command(argv: tuple[str, ...]) -> str:
    """The command line. In its words `$` would be a variable; in the program's path it is not."""
    if _REFUSED.search(argv[0]):
        argv = ("/bin/sh", "-c", 'exec "$@"', "reconcile", *argv)
    program, *words = argv
    return " ".join([_quoted(program), *(_quoted(each).replace("$", "$$") for each in words)])


def _quoted(word: str) -> str:
    """One word of a list, whatever is in it, by the rules of systemd.syntax(7); `%` would be a specifier everywhere."""
    doubled = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return doubled
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _folder(path: str) -> str:
    """A path alone in its line. Nothing is unquoted there, but a blank at the end is lost, and a backslash there continues the line."""
    return path.replace("%", "%%") + ("/." if path.endswith(("\\", " ")) else "")


# --- launchd -------------------------------------------------------------------------------------------------------------


def launchd(service: Service, log: str) -> str:
    """The agent, for `~/Library/LaunchAgents/NAME.plist`; `log` is the file that it writes to."""
    value = {
        "Label": service.name,
        "ProgramArguments": list(_with_secrets(service) if service.secrets else service.argv),
        "WorkingDirectory": service.folder,
        "EnvironmentVariables": dict(sorted(service.env.items())),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": PAUSE_SECONDS,
        "ExitTimeOut": STOP_SECONDS,
        "AbandonProcessGroup": True,
        "ProcessType": "Interactive",
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    head, doctype, rest = plistlib.dumps(value, sort_keys=False).decode("utf-8").split("\n", 2)
    told = "\n".join(f"  {each}" for each in (*_LAUNCHD.splitlines(), *_told_secrets(service)))
    return f"{head}\n{doctype}\n<!--\n{told}\n-->\n{rest}"


_LAUNCHD = """\
`reconcile watch` for one installation. Written by `reconcile service install`; write it again rather than edit it.
KeepAlive: SIGTERM is a wanted stop, ends with 0 and stays ended; after anything else it comes back.
AbandonProcessGroup: stopping ends the loop alone. The shared services and the runs outlive it and are found again by the next one.
ProcessType: the runs inherit it, and anything less than Interactive would slow them down.
Umask 63 is 0077: what it writes is its user's alone. Take it out where a DVC remote is a folder that others read."""

_SOURCE = 'set -a; . "$HOME/.config/$0"; exec "$@"'


def _with_secrets(service: Service) -> tuple[str, ...]:
    """launchd reads no file of variables: a shell does, and becomes the program."""
    return ("/bin/sh", "-c", _SOURCE, service.secrets_file, *service.argv)


def _told_secrets(service: Service) -> Iterator[str]:
    if service.secrets:
        yield "ProgramArguments: left out here, because this file is no place for secrets:"
        yield from (f"  {name}: {why}" for name, why in sorted(service.secrets.items()))
        yield f"Put them as NAME='value' into ~/.config/{service.secrets_file}, mode 0600. Without that file it does not start."


def default_log(home: Path, name: str) -> str:
    """Where programs of a user of macOS write what they have to say; the folder is always there."""
    return str(home / "Library" / "Logs" / f"{name}.log")
