"""One message to one receiver, whatever it is. Apprise is loaded with the first message that needs it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.alerting import message as words
from reconciler.alerting.values import Message
from reconciler.alerting.webhook import post
from reconciler.errors import Terminal, Transient
from reconciler.report.bulletin import worded
from schemas.alertpolicy import Templates
from schemas.receiver import Receiver

_STATUS = re.compile(r"\berror=(\d{3})\b")
_SORTS = {"firing": "warning", "resolved": "success"}
_BETWEEN = 20
"""Characters by which a service without titles sets one apart from the text below it."""
MAIL = frozenset(
    {
        *("mailto", "mailtos", "acs", "azure", "brevo", "mailersend", "mailgun", "o365", "postmark", "resend"),
        *("sendgrid", "sendpulse", "ses", "smtp2go", "sparkpost"),
    }
)
"""Of apprise's addresses those that send mail."""
MAIL_ROOM = 10**6
"""Characters of a mail."""
_FIRST = threading.Lock()
"""Apprise looks for its plugins at the first address, which takes a second and is not made for two threads at once."""


def send(receiver: Receiver, message: Message, templates: Templates, secret: Callable[[Any], str], seconds: float) -> None:
    """Tell it; when this returns, the receiver (for apprise: the service) has accepted it.

    Raises Transient when it has not, Terminal when a secret is missing or makes no sense. No error holds a secret."""
    if receiver.webhook is not None:
        post(receiver.webhook, message.notification.id, words.body(message), secret, seconds)
    elif receiver.apprise is not None:
        _apprise(secret(receiver.apprise), message, templates, seconds)


def _apprise(url: str, message: Message, templates: Templates, seconds: float) -> None:
    try:
        import apprise
    except ModuleNotFoundError:
        raise Terminal("apprise is not installed", hint="install mlops-reconciler[alerts]") from None
    with _listening() as heard:
        with _FIRST:
            service = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(app_id="mlops-reconciler", async_mode=False))
        if service is None:
            raise Terminal("apprise does not understand the address in its secret", hint="`apprise --dry-run URL` tells what is wrong")
        service.socket_connect_timeout = service.socket_read_timeout = max(1.0, seconds / 2)
        title, mail = words.title(message, templates), url.partition("://")[0].lower() in MAIL
        text, form = _worded(message, templates, mail, service.body_maxlen - (0 if service.title_maxlen else len(title) + _BETWEEN))
        whole = mail and form == "html"  # no service cuts a mail, and half a page is none
        service.overflow_mode = apprise.OverflowMode.UPSTREAM if whole else apprise.OverflowMode.TRUNCATE
        sort = _SORTS.get(words.status_of(message), "info")
        try:
            arrived = service.notify(body=text, title=title, notify_type=apprise.NotifyType(sort), body_format=apprise.NotifyFormat(form))
        except Exception as error:  # a plugin may raise anything, and its words may hold the address
            raise Transient(f"apprise failed: {type(error).__name__}") from None
    if not arrived:
        raise Transient(_why(heard))


def _worded(message: Message, templates: Templates, mail: bool, room: int) -> tuple[str, str]:
    """The text, and its format."""
    if (made := message.bulletin) is None:
        return words.text(message, templates), "text"
    return worded(made, made.format or ("html" if mail else "text"), MAIL_ROOM if mail else room)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What apprise logs in this thread; nobody else hears it, for addresses with tokens may be in it."""
    logger, here, heard = logging.getLogger("apprise"), threading.get_ident(), list[str]()

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                heard.append(record.getMessage())

    ear = _Ear(logging.WARNING)
    logger.propagate = False
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)


def _why(heard: list[str]) -> str:
    """What is sure to hold no secret: the code that the service answered with."""
    for said in reversed(heard):
        if found := _STATUS.search(said):
            return f"the service answered {found[1]}"
    if any("onnection error" in said or "Socket" in said for said in heard):
        return "the service cannot be reached"
    return "the service did not accept it"
