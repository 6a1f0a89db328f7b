"""COPY as its syntax tree has it: the layout of its data; the text of the query within COPY, PREPARE and DECLARE. Pure.

Promises None for whatever it does not know for certain: an option, a character set, a query whose text it cannot find.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.masking.copy_layout import CopyFormat, Layout, codec
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, SyntaxFaultError, parse
from gateway.policy.tree import Node, flag, items, kind_of, strings

_KNOWN = frozenset(
    {"format", "delimiter", "null", "header", "quote", "escape", "force_quote", "encoding", "freeze", "default",
     "force_null", "force_not_null", "on_error", "log_verbosity", "reject_limit"}
)  # fmt: skip
_TOKENS = re.compile(
    rb"""(?P<comment>--[^\n]*|/\*)|(?P<open>\()|(?P<close>\))"""
    rb"""|(?P<skip>[eE]'(?:[^'\\]|\\.|'')*+'|'(?:[^']|'')*+'|"(?:[^"]|"")*+"|(?:[A-Za-z_\x80-\xff][\w$\x80-\xff]*+)"""
    rb"""|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$)|.)""",
    re.DOTALL,
)
_COMMENT = re.compile(rb"/\*|\*/")


def layout_of(copy: Node) -> Layout | None:
    """Return the layout of a COPY's data; None where an option is not known, or its character set cannot be walked."""
    options = [kind_of(item)[1] for item in items(copy.get("options"))]
    given = {str(option.get("defname")): option.get("arg") for option in options}
    if len(given) != len(options) or not given.keys() <= _KNOWN:
        return None
    named = _text(given.get("format")) or "text"
    if named not in set(CopyFormat):
        return None
    found = Layout(CopyFormat(named))
    if found.format is CopyFormat.BINARY:
        return found
    name = _text(given.get("encoding"))
    known = codec(name) if name is not None else found.codec
    if known is None:
        return None
    return _with_marks(replace(found, codec=known, header=bool(flag(copy.get("options"), "header"))), given)


def _with_marks(found: Layout, given: dict[str, object]) -> Layout | None:
    """Read delimiter, NULL and quoting, each with the default of its format."""
    csv = found.format is CopyFormat.CSV
    delimiter = _bytes(given, "delimiter", b"," if csv else b"\t")
    quote = _bytes(given, "quote", b'"')
    escape = _bytes(given, "escape", quote)
    if any(len(each) != 1 for each in (delimiter, quote, escape)):
        return None
    forced = given.get("force_quote")
    columns = frozenset(strings(kind_of(forced)[1].get("items")))
    return replace(
        found,
        delimiter=delimiter,
        null=_bytes(given, "null", b"" if csv else b"\\N"),
        quote=quote,
        escape=escape,
        force_quote=None if kind_of(forced)[0] == "A_Star" else columns,
        default=_bytes(given, "default", b"") if "default" in given else None,
    )


def inner_query(text: bytes, query: tuple[str, Node]) -> tuple[bytes, int] | None:
    """Return the text of the query in `COPY (query) TO …` and the number of characters before it.

    `query` is that query's own tree; None where the text that was found does not read as the same tree.
    """
    found = _within(text)
    if found is None or not _reads_as(text[found[0] : found[1]], query):
        return None
    start, stop = found
    return text[start:stop], len(text[:start].decode("utf-8", "replace"))


def named_query(text: bytes, query: tuple[str, Node]) -> bytes | None:
    """Return the text of the query in `PREPARE name AS query` or `DECLARE name CURSOR FOR query`, as `inner_query`."""
    place = depth = 0
    while place < len(text):
        token = _TOKENS.match(text, place)
        if token is None:
            return None
        place = token.end()
        depth += bool(token["open"]) - bool(token["close"])
        if token["comment"] == b"/*":
            place = _behind_comment(text, place)
        elif depth == 0 and token["skip"] and token["skip"].lower() in {b"as", b"for"}:
            return text[place:] if _reads_as(text[place:], query) else None
    return None


def _reads_as(text: bytes, query: tuple[str, Node]) -> bool:
    """Say whether `text` alone is the statement whose tree `query` is."""
    if len(text) > INLINE_LIMIT:
        return False
    try:
        statements = parse(text).statements
        return len(statements) == 1 and _bare(statements[0].node) == _bare({query[0]: query[1]})
    except (NotUnderstoodError, SyntaxFaultError, RecursionError):
        return False


def _within(text: bytes) -> tuple[int, int] | None:
    """Find the first pair of parentheses outside of comments and quotes."""
    place = depth = begin = 0
    while place < len(text):
        token = _TOKENS.match(text, place)
        if token is None:
            return None
        place = token.end()
        if token["open"]:
            depth += 1
            begin = place if depth == 1 else begin
        elif token["close"]:
            depth -= 1
            if depth == 0:
                return begin, token.start()
        elif token["comment"] == b"/*":
            place = _behind_comment(text, place)
        elif token["dollar"]:
            end = text.find(token["dollar"], place)
            place = len(text) if end < 0 else end + len(token["dollar"])
    return None


def _behind_comment(text: bytes, place: int) -> int:
    """Return where a comment ends; they nest."""
    depth = 1
    for mark in _COMMENT.finditer(text, place):
        depth += 1 if mark[0] == b"/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _bare(node: object) -> object:
    """Return a tree without the places in the text that its nodes come from; raises RecursionError where it is deep."""
    if isinstance(node, dict):
        return {name: _bare(value) for name, value in node.items() if not name.endswith("location")}
    return [_bare(value) for value in node] if isinstance(node, list) else node


def _text(node: object) -> str | None:
    kind, fields = kind_of(node)
    return str(fields.get("sval", "")) if kind == "String" else None


def _bytes(given: dict[str, object], name: str, default: bytes) -> bytes:
    if name not in given:
        return default
    text = _text(given[name])
    return b"" if text is None else text.encode()
