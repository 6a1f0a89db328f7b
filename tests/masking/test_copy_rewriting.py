"""COPY data is masked as it streams, however it is cut into pieces, and reads back as what was meant."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

import csv
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.masking.copy_binary import CopyBinary
from gateway.masking.copy_csv import CopyCsv
from gateway.masking.copy_layout import CopyFormat, Layout, codec
from gateway.masking.copy_text import CopyText
from gateway.masking.copying import LONGEST, Copier, CopyFault, Stand
from gateway.policy.copies import inner_query, layout_of
from gateway.policy.parse import parse
from gateway.policy.tree import kind_of

STARS = Stand("b", b"***")
NOTHING = Stand("b", None)
LAST = Stand("b", b"***", lambda value: value[-2:])


def run(copier: Copier, *pieces: bytes) -> tuple[bytes, list[bytes]]:
    """Return what passes and what was replaced."""
    out, originals = bytearray(), []
    for piece in pieces:
        copied = copier.feed(piece)
        out += copied.data
        originals += [each.original for each in copied.replaced]
    copier.end()
    return bytes(out), originals


def text(*stands: Stand | None, **options: object) -> CopyText:
    return CopyText(Layout(**options), stands)  # type: ignore[arg-type]


def as_csv(*stands: Stand | None, **options: object) -> CopyCsv:
    return CopyCsv(Layout(CopyFormat.CSV, **{"delimiter": b",", "null": b"", **options}), stands)  # type: ignore[arg-type]


@pytest.mark.parametrize(("copier", "given_", "passes", "originals"), [
    (lambda: text(None, STARS), b"1\tann\n2\t\\N\n", b"1\t***\n2\t\\N\n", [b"ann"]),
    (lambda: text(STARS, None), b"a\\tb\\\\\\n\tx\\ty\n", b"***\tx\\ty\n", [b"a\tb\\\n"]),
    (lambda: text(None, NOTHING, None), b"1\tann\t2\n", b"1\t\\N\t2\n", [b"ann"]),
    (lambda: text(None, LAST), b"1\tzo\\t\n", b"1\to\\t\n", [b"zo\t"]),
    (lambda: text(None, LAST, delimiter=b"|"), b"1|zo\\|\n", b"1|o\\|\n", [b"zo|"]),
    (lambda: text(None, STARS, delimiter=b"*"), b"1*ann\n", b"1*\\*\\*\\*\n", [b"ann"]),
    (lambda: text(None, STARS, header=True), b"id\tname\n1\tann\n", b"id\tname\n1\t***\n", [b"ann"]),
    (lambda: text(None, STARS, null=b"\\N "), b"1\t\\N \n2\tN \n", b"1\t\\N \n2\t***\n", [b"N "]),
    # where NULL could be a value, neither is told apart
    (lambda: text(None, STARS, null=b"ann"), b"1\tann\n2\tbob\n", b"1\tann\n2\tann\n", [b"bob"]),
    (lambda: text(None, STARS, null=b""), b"1\t\n2\tbob\n", b"1\t\n2\t\n", [b"bob"]),
    (lambda: as_csv(None, STARS), b"1,ann\n2,\n3,\"\"\n", b"1,***\n2,\n3,***\n", [b"ann", b""]),
    (lambda: as_csv(STARS, None), b"\"a,\"\"b\"\"\n\",\"x\ny\"\n", b"***,\"x\ny\"\n", [b'a,"b"\n']),
    (lambda: as_csv(None, NOTHING, null=b"nil"), b"1,\"nil\"\n2,nil\n", b"1,nil\n2,nil\n", [b"nil"]),
    (lambda: as_csv(None, STARS, null=b"***"), b"1,ann\n2,***\n", b"1,\"***\"\n2,***\n", [b"ann"]),
    (lambda: as_csv(None, STARS, force_quote=frozenset({"b"})), b"1,\"ann\"\n2,\n", b"1,\"***\"\n2,\n", [b"ann"]),
    (lambda: as_csv(None, STARS, force_quote=None), b"\"1\",\"ann\"\n", b"\"1\",\"***\"\n", [b"ann"]),
    (lambda: as_csv(None, STARS, delimiter=b"*"), b"1*ann\n", b"1*\"***\"\n", [b"ann"]),
    (lambda: as_csv(None, STARS, header=True), b"id,\"na\nme\"\n1,ann\n", b"id,\"na\nme\"\n1,***\n", [b"ann"]),
    (lambda: as_csv(None, LAST, quote=b"'", escape=b"\\"), b"1,'it\\'s \\\\ \\x'\n2,'\\'\\''\n", b"1,\\x\n2,'\\'\\''\n", [b"it's \\ \\x", b"''"]),
    (lambda: as_csv(None, STARS, escape=b"\\"), b"1,\"a\\\"b,\nc\"\n", b"1,***\n", [b'a"b,\nc']),
    (lambda: as_csv(STARS), b"\"\\.\"\n", b"***\n", [b"\\."]),
])  # fmt: skip
def test_rows_are_rewritten_however_they_are_cut(
    copier: object, given_: bytes, passes: bytes, originals: list[bytes]
) -> None:
    assert callable(copier)
    assert run(copier(), given_) == (passes, originals)
    assert run(copier(), *(given_[place : place + 1] for place in range(len(given_)))) == (passes, originals)
    for place in range(len(given_)):
        assert run(copier(), given_[:place], given_[place:]) == (passes, originals)


def binary(*rows: tuple[bytes | None, ...]) -> bytes:
    data = b"PGCOPY\n\xff\r\n\0" + struct.pack("!iI", 0, 3) + b"ext"
    for row in rows:
        data += struct.pack("!h", len(row))
        data += b"".join(
            struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in row
        )
    return data + struct.pack("!h", -1)


def test_binary_rows_are_rewritten_however_they_are_cut() -> None:
    whole = binary((b"\0\0\0\1", b"ann", b""), (b"x", None, b"long" * 9), (b"", b"", None))
    masked = binary((b"\0\0\0\1", b"***", b""), (b"x", None, b"long" * 9), (b"", b"***", None))
    for step in (1, 2, 3, 7, len(whole)):
        pieces = (whole[place : place + step] for place in range(0, len(whole), step))
        assert run(CopyBinary((None, STARS, None)), *pieces) == (masked, [b"ann", b""])
    assert run(CopyBinary((NOTHING,)), binary((b"ann",)))[0] == binary((None,))


@pytest.mark.parametrize(("copier", "data"), [
    (text(None, STARS), b"1\tann\t2\n"), (text(None, STARS), b"1\n"), (text(STARS, None), b"ann\\\t1\n"),
    (text(None, STARS), b"1\tann"), (text(None, STARS), b"1"), (text(None, STARS), b"1\tann\n1"),
    (as_csv(None, STARS), b"1,ann,2\n"), (as_csv(None, STARS), b"\"1,ann\n"), (as_csv(None, STARS), b"1,\"ann"),
    (as_csv(None, STARS), b"1\n"),
    (CopyBinary((None, STARS)), binary((b"1",))), (CopyBinary((STARS,)), binary((b"1",))[:-1]),
    (CopyBinary((STARS,)), binary((b"1",)) + b"\0"), (CopyBinary((STARS,)), b"P" * 30),
    (CopyBinary((STARS,)), binary((b"1",)).replace(b"\0\0\0\1" + b"1", b"\xff\xff\xff\xf0" + b"1")),
    (CopyBinary((STARS,)), b"PGCOPY\n\xff\r\n\0" + struct.pack("!iI", 1 << 16, 0)),
])  # fmt: skip
def test_what_does_not_fit_its_announcement_ends_the_copy(copier: Copier, data: bytes) -> None:
    with pytest.raises(CopyFault):
        run(copier, data)


def test_no_more_than_a_field_is_kept_and_of_a_long_one_nothing_is_shown() -> None:
    piece, pieces = b"zqx," * (16 << 10), 3 * LONGEST // (64 << 10)
    for copier, head, tail in (
        (text(None, LAST, None), b"1\t", b"\t2\n3\tann\t4\n"),
        (as_csv(None, LAST, None), b'1,"', b'",2\n3,ann,4\n'),
    ):
        kept, seen = 0, b""
        for data in (head, *[piece] * pieces, tail):
            seen += copier.feed(data).data
            kept = max(kept, len(copier._carry))
        copier.end()
        separator = b"\t" if head.endswith(b"\t") else b","
        assert seen == separator.join((b"1", b"***", b"2\n3", b"nn", b"4\n"))
        assert kept <= LONGEST + len(piece)
    long = binary((b"1", b"zqx" * LONGEST), (b"2", b"ann"))
    assert run(CopyBinary((None, LAST)), *(long[at : at + 65536] for at in range(0, len(long), 65536)))[0] == binary(
        (b"1", b"***"), (b"2", b"nn")
    )


def test_a_clean_field_streams() -> None:
    copier = text(None, STARS)
    assert [copier.feed(piece).data for piece in (b"ab", b"c\\", b"nd", b"\tsec", b"ret\n")] == [
        b"ab", b"c", b"\\nd", b"\t", b"***\n",
    ]  # fmt: skip


VALUES = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))


@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=5),
    st.integers(1, 9),
    st.sampled_from([(1,), (0, 2), (0, 1, 2)]),
)
def test_any_values_in_pieces_of_any_size(
    rows: list[tuple[str | None, ...]], step: int, marked: tuple[int, ...]
) -> None:
    """Unmasked values come through as they were, masked ones as stars; NULL stays NULL."""
    stands = tuple(STARS if place in marked else None for place in range(3))
    data = "".join("\t".join(_escaped(value) for value in row) + "\n" for row in rows).encode()
    out, originals = run(text(*stands), *(data[at : at + step] for at in range(0, len(data), step)))
    shown = [[_meant(field) for field in line.split("\t")] for line in out.decode().split("\n")[:-1]]
    assert shown == [_masked(row, marked) for row in rows]
    assert originals == [row[place].encode() for row in rows for place in marked if row[place] is not None]  # type: ignore[union-attr]

    quoted = "".join(
        ",".join("" if v is None else '"' + v.replace('"', '""') + '"' for v in row) + "\n" for row in rows
    ).encode()
    out, _ = run(as_csv(*stands), *(quoted[at : at + step] for at in range(0, len(quoted), step)))
    read = list(csv.reader(io.StringIO(out.decode(), newline="")))
    assert read == [["" if value is None else value for value in _masked(row, marked)] for row in rows]


def _escaped(value: str | None) -> str:
    if value is None:
        return "\\N"
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\b", "\\b")):
        value = value.replace(plain, escaped)
    return value


def _meant(field: str) -> str | None:
    return None if field == "\\N" else field.encode().decode("unicode_escape").encode("latin-1").decode()


def _masked(row: tuple[str | None, ...], marked: tuple[int, ...]) -> list[str | None]:
    return ["***" if place in marked and value is not None else value for place, value in enumerate(row)]


@pytest.mark.parametrize(("options", "expected"), [
    ("", Layout()),
    ("(FORMAT csv)", Layout(CopyFormat.CSV, b",", b"")),
    ("CSV HEADER", Layout(CopyFormat.CSV, b",", b"", header=True)),
    ("(FORMAT csv, HEADER off, DELIMITER ';', QUOTE '''', NULL 'x')", Layout(CopyFormat.CSV, b";", b"x", b"'", b"'")),
    ("(FORMAT csv, ESCAPE E'\\\\', FORCE_QUOTE (a, \"B\"))", Layout(CopyFormat.CSV, b",", b"", escape=b"\\", force_quote=frozenset({"a", "B"}))),
    ("CSV FORCE QUOTE *", Layout(CopyFormat.CSV, b",", b"", force_quote=None)),
    ("(FORMAT binary)", Layout(CopyFormat.BINARY)),
    ("DELIMITER '|' NULL ''", Layout(delimiter=b"|", null=b"")),
    ("(ENCODING 'LATIN1')", Layout(codec="latin_1")),
    ("(ENCODING 'utf-8', HEADER true)", Layout(header=True)),
    ("(ENCODING 'SJIS')", None), ("(ENCODING 'gb18030')", None), ("(ENCODING 'nonsense')", None),
    ("(FORMAT 'json')", None), ("(FORMAT csv, NEW_OPTION 1)", None), ("(DELIMITER 'ab')", None),
    ("(FORMAT csv, FORMAT text)", None),
])  # fmt: skip
def test_options_are_read_as_postgresql_reads_them(options: str, expected: Layout | None) -> None:
    _, copy = kind_of(parse(f"COPY t TO STDOUT {options}".encode()).statements[0].node)
    assert layout_of(copy) == expected


@pytest.mark.parametrize("sql", [
    "COPY (SELECT 1, ')', $a$ ) $a$, E'\\')', \"b)\" /* ) /* */ ( */ -- )\n, (2)) TO STDOUT",
    "/* ( */ copy/*(*/(select a$b$ from c$b$ where (x) = ANY ('{)}')) to stdout (format csv)",
    "COPY (SELECT 'ü' || U&'\\0029') TO STDOUT",
    "COPY (INSERT INTO t VALUES (')') RETURNING (a)) TO STDOUT",
])  # fmt: skip
def test_the_query_within_is_found(sql: str) -> None:
    _, copy = kind_of(parse(sql.encode()).statements[0].node)
    found = inner_query(sql.encode(), next(iter(copy["query"].items())))
    assert found is not None
    text_, offset = found
    assert sql[offset : offset + len(text_.decode())] == text_.decode()
    assert sql[offset - 1] == "("


def test_character_sets_that_hide_ascii_bytes_are_not_walked() -> None:
    assert [codec(name) for name in ("SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004")] == [None] * 7
    for name in ("UTF8", "latin9", "EUC_JP", "WIN1252", "KOI8R", "ISO_8859_5"):
        known = codec(name)
        assert known is not None
        assert b"a\\\t,".decode(known) == "a\\\t,"
