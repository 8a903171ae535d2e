"""YAML text to plain values: one composed tree, read with limits. Everything that is wrong is told with its line and column.

Only what JSON can hold comes out, plus times: texts, numbers, booleans, null, lists, and mappings with text keys. Tags that build
objects, keys that are written twice, aliases that explode and characters that steer a terminal are faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor

from reconciler.model.lfs import HEAD, WAY_OUT, is_lfs_pointer

MAX_BYTES: Final = 1024 * 1024
"""Of one file. A manifest is written by people; a larger file is a mistake or an attack."""
MAX_NODES: Final = 100_000
"""Values in one document after its aliases are expanded."""
MAX_DOCUMENTS: Final = 10_000
"""In one file; with what a manifest needs at least, no more go into one."""
MAX_NUMBER: Final = 64
"""Characters of a number or a date. YAML has forms whose reading takes the square of their length: a megabyte took half a minute."""
MAX_FAULTS: Final = 100
"""Of one document that are told."""
MAX_DEPTH: Final = 64
"""Levels of lists and mappings."""
_SURELY_SHALLOW: Final = 300
"""Up to this many brackets and characters per line, a text cannot nest so deep that composing it overflows a thread's stack."""
_TAG: Final = "tag:yaml.org,2002:"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_CONFLICT = re.compile(r"^(<{7}|>{7})( |$)", re.MULTILINE)
_MEANING = {"bool": "as true or false", "null": "as nothing", "int": "as a number", "float": "as a number", "timestamp": "as a date"}
_SAFE = SafeConstructor()
_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    f"{_TAG}null": lambda node: None,
    f"{_TAG}bool": _SAFE.construct_yaml_bool,
    f"{_TAG}int": _SAFE.construct_yaml_int,
    f"{_TAG}float": _SAFE.construct_yaml_float,
    f"{_TAG}timestamp": _SAFE.construct_yaml_timestamp,
}
_TEXTS = frozenset({f"{_TAG}str", f"{_TAG}value", "!"})


class Fault(Exception):
    """Something that is wrong at one place of a text. Lines and columns count from 1; 0 = the text as a whole."""

    def __init__(self, message: str, line: int = 0, column: int = 0, *, hint: str = "", path: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.hint, self.path = message, line, column, hint, path


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a text. With faults, `data` holds what could be read, only good enough to know whose document it is."""

    index: int
    line: int
    data: Any
    faults: tuple[Fault, ...] = ()


def decode(raw: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, and free of control characters. Raises Fault."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Fault("the file is encoded as UTF-16", hint="save it as UTF-8")
    if is_lfs_pointer(raw[:HEAD]):
        raise Fault("the file is a pointer of Git LFS, not the manifest", 1, 1, hint=f"{WAY_OUT}: manifests are small")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        raise Fault(f"byte 0x{raw[error.start]:02x} is not UTF-8", *_place(before), hint="save the file as UTF-8") from None
    found = None if text.isprintable() else _CONTROL.search(text.replace("\r\n", " \n"))
    if found:
        hint = "the file looks like UTF-16 without a mark; save it as UTF-8" if found[0] == "\0" else "remove it"
        raise Fault(f"{_named(found[0])} is not allowed in a manifest", *_place(text[: found.start()]), hint=hint)
    return text


def documents(text: str) -> Iterator[Document]:
    """Every document of a text that is not empty. Raises Fault when the text is not YAML at all; other faults stay with their document."""
    for index, node in enumerate(compose(text)):
        if index == MAX_DOCUMENTS:
            message = f"the file has more than {MAX_DOCUMENTS:,} documents"
            raise Fault(message, node.start_mark.line + 1, 1, hint="split it into several files")
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null" and not node.value:
            continue
        reader = _Reader()
        data = reader.document(node)
        yield Document(index, node.start_mark.line + 1, data, tuple(reader.faults))


def compose(text: str) -> list[yaml.Node]:
    """The tree of each document, with marks. Raises Fault when the text is not YAML or nests too deep to be read safely."""
    try:
        if max(text.count("[") + text.count("{"), max(map(len, text.split("\n")))) > _SURELY_SHALLOW:
            _check_depth(text)
        return list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text) from None
    except yaml.YAMLError as error:
        raise Fault(f"this is not YAML: {str(error).splitlines()[0]}") from None


def _check_depth(text: str) -> None:
    """Composing is recursive in C and would take the process down with it; parsing is not."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(mark: Any) -> Fault:
    return Fault(f"more than {MAX_DEPTH} levels of lists and mappings", mark.line + 1, mark.column + 1)


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Fault:
    conflict = _CONFLICT.search(text)
    if conflict:
        return Fault("git's mark of a merge conflict was left in the file", *_place(text[: conflict.start()]), hint="resolve the conflict")
    problem = (error.problem or "it cannot be parsed").split(";")[0]
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Fault(f"this is not YAML: {problem}")
    line, column = text.split("\n")[min(mark.line, text.count("\n"))], mark.column
    hint = ""
    if "\t" in line[: column + 1] and ("cannot start any token" in problem or "tab" in problem):
        return Fault("a tab is used for indentation", mark.line + 1, line.index("\t") + 1, hint="indent with spaces")
    if "cannot start any token" in problem:
        problem, hint = f"a value cannot start with {line[column : column + 1]!r}", "put the text in quotes"
    elif "did not find expected" in problem or "mapping values" in problem or "could not find expected" in problem:
        began = f"; it belongs to what begins in line {error.context_mark.line + 1}" if error.context_mark else ""
        hint = f"check the indentation, the colons and the brackets of this line and the one above{began}"
    elif "undefined alias" in problem:
        hint = "an alias (*name) needs an anchor (&name) above it in the same document"
    return Fault(f"this is not YAML: {problem}", mark.line + 1, column + 1, hint=hint)


def _place(before: str) -> tuple[int, int]:
    """Line and column of what comes after `before`."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _named(character: str) -> str:
    return "a NUL character" if character == "\0" else f"the control character U+{ord(character):04X}"


class _TooMuch(Exception):
    """The document cannot be read on; its fault is written down already."""


class _Reader:
    """Reads one document; goes on after a fault, so that all of them are told at once."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.nodes = 0
        self.known: dict[int, tuple[Any, int]] = {}
        """Values that an alias may ask for again, with how many nodes they stand for."""
        self.open: set[int] = set()

    def document(self, node: yaml.Node) -> Any:
        try:
            return self.value(node, ())
        except _TooMuch:
            return None

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if isinstance(node, yaml.ScalarNode):
            self._count(node, 1)
            return self._scalar(node, path)
        key = id(node)
        if key in self.known:
            value, size = self.known[key]
            self._count(node, size)
            return value
        if key in self.open:
            return self._fault(node, "an alias stands for something that it is itself a part of", path)
        if len(path) > MAX_DEPTH:
            self.faults.append(_too_deep(node.start_mark))
            raise _TooMuch
        self.open.add(key)
        before = self.nodes
        self._count(node, 1)
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self.open.remove(key)
        self.known[key] = (value, self.nodes - before)
        return value

    def _count(self, node: yaml.Node, more: int) -> None:
        self.nodes += more
        if self.nodes > MAX_NODES:
            self._fault(node, f"its aliases expand to more than {MAX_NODES:,} values", (), "write less, or use fewer aliases")
            raise _TooMuch

    def _fault(self, node: yaml.Node, message: str, path: tuple[str, ...], hint: str = "") -> None:
        place = node.start_mark.line + 1, node.start_mark.column + 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(message, *place, hint=hint, path=".".join(path)))
        elif len(self.faults) == MAX_FAULTS:
            self.faults.append(Fault(f"more than {MAX_FAULTS} mistakes; the others are not told", *place))

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        text: str = node.value
        if node.tag in _TEXTS:
            found = None if text.isprintable() else _CONTROL.search(text)
            return self._fault(node, f"{_named(found[0])} is not allowed in a value", path) if found else text
        build = _SCALARS.get(node.tag)
        if build is None:
            return self._tag(node, path)
        try:
            if len(text) > MAX_NUMBER:
                raise ValueError(node.tag)
            return build(node)
        except (ValueError, KeyError, OverflowError):
            kind = _MEANING[node.tag.removeprefix(_TAG)].removeprefix("as ")
            return self._fault(node, f"YAML takes this for {kind}, but it is none", path, "put it in quotes if it is a text")

    def _tag(self, node: yaml.Node, path: tuple[str, ...]) -> None:
        tag = node.tag.replace(_TAG, "!!")[:60]
        self._fault(node, f"the tag {ascii(tag)[1:-1]} is not allowed", path, "a manifest holds plain values only: remove the tag")

    def _sequence(self, node: yaml.Node, path: tuple[str, ...]) -> list[Any] | None:
        if node.tag != f"{_TAG}seq":
            self._tag(node, path)
        return [self.value(each, (*path, str(n))) for n, each in enumerate(node.value)]

    def _mapping(self, node: yaml.Node, path: tuple[str, ...]) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            self._tag(node, path)
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merged = {**self._merge(value, path), **merged}
                continue
            name = self._key(key, path)
            below = self.value(value, (*path, name or "?"))
            if name in lines:
                self._fault(key, f"the key is written twice; first in line {lines[name]}", (*path, name), "keep one of them")
            elif name is not None:
                own[name], lines[name] = below, key.start_mark.line + 1
        return {**merged, **own} if merged else own

    def _merge(self, node: yaml.Node, path: tuple[str, ...]) -> dict[str, Any]:
        found = self.value(node, (*path, "<<"))
        merged: dict[str, Any] = {}
        for each in reversed(found if isinstance(found, list) else [found]):
            if not isinstance(each, dict):
                self._fault(node, "`<<` merges mappings only", path)
                return {}
            merged |= each
        return merged

    def _key(self, node: yaml.Node, path: tuple[str, ...]) -> str | None:
        self._count(node, 1)
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, "a key must be a text, not a list or a mapping", path)
            return None
        if node.tag in _TEXTS:
            name = self._scalar(node, path)
            return name if isinstance(name, str) else None
        meaning = _MEANING.get(node.tag.removeprefix(_TAG))
        if meaning is None:
            self._tag(node, path)
        else:
            shown = ascii(node.value[:40])[1:-1]
            self._fault(
                node,
                f"YAML reads the key `{shown}` {meaning}",
                path,
                f"write '{shown}' in quotes" if shown else "write a key before the colon",
            )
        return None
