"""Queries composed at random: each knows the columns it gives, so that it can stand inside another.

Rows never depend on marked values here (no comparison of them decides which rows there are, and how many), so that
whatever differs between two databases that differ in marked values only would be a leak.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

MARKED = {
    "users": [("id", "int"), ("name", "text"), ("email", "text"), ("born", "date"), ("salary", "num"),
              ("tags", "texts"), ("secret", "bytes"), ("profile", "json"), ("city", "text"), ("mail_key", "text")],
    "mails": [("id", "int"), ("mail", "text")],
    "shouted": [("id", "int"), ("mail", "text"), ("loud", "text")],
    "joined": [("a", "int"), ("b", "int"), ("c", "text")],
    "keys": [("id", "int"), ("mail_key", "text")],
    "whole_rows": [("whole", "row"), ("id", "int")],
    "united": [("x", "text")],
    "snapshot": [("id", "int"), ("mail", "text")],
    "recursed": [("id", "int"), ("b", "text")],
    "payments": [("id", "int"), ("card", "text"), ("amount", "num")],
    "people": [("id", "int"), ("who", "text")],
    "readings": [("id", "int"), ("at", "date"), ("who", "text"), ("value", "num")],
    "employees": [("id", "int"), ("boss_id", "int"), ("badge", "text"), ("title", "text")],
    'crm."Contact List"': [("id", "int"), ('"Full Name"', "text"), ('"E-Mail"', "text"), ("city", "text")],
    "homes": [("id", "int"), ("user_id", "int"), ("place", "row")],
}  # fmt: skip
UNMARKED = {
    "orders": [("id", "int"), ("user_id", "int"), ("total", "num"), ("note", "text"), ("status", "text")],
    "items": [("id", "int"), ("order_id", "int"), ("label", "text"), ("price", "num"), ("doc", "json")],
    "ids": [("id", "int"), ("name", "text"), ("city", "text")],
    "totals": [("user_id", "int"), ("total", "num"), ("n", "int")],
    "crm.users": [("id", "int"), ("email", "text"), ("label", "text")],
}
NAMES = ["id", "name", "email", "x", "mail", "upper", "users", "city", "n", "b"]
LEAVES = {"int": "7", "num": "1.5", "text": "'t'", "date": "date '2020-01-01'", "json": "'{}'::jsonb",
          "texts": "ARRAY['t']", "bytes": "'\\x00'::bytea", "row": "ROW(1, 't')"}  # fmt: skip

TO_TEXT = [
    "upper({text})", "lower({text})", "{text} || ''", "{any}::text", "reverse({text})", "left({text}, 4)",
    "substr({text}, 2, 3)", "concat({any}, '-', {any})", "format('%s', {any})", "md5({text})", "quote_literal({text})",
    "coalesce({text}, {text})", "CASE WHEN {bool} THEN {text} ELSE {text} END", "nullif({text}, 'q')",
    "greatest({text}, {text})", "encode(convert_to({text}, 'UTF8'), 'base64')", "({texts})[1]",
    "array_to_string({texts}, ',')", "{json} ->> 'nick'", "to_jsonb({any})::text", "row_to_json(ROW({any}))::text",
    "split_part({text}, '@', 1)", "regexp_replace({text}, '.', '#')", "to_char({num}, 'FM999999999.99')",
    "jsonb_build_object('k', {any})::text", "xmlelement(name a, {text})::text", "ROW({any}, {any})::text",
    "(ROW({text}, 1)).f1", "(SELECT {text})", "(SELECT max(z) FROM (SELECT {text} AS z) q)", "shout({text})",
    "({text} COLLATE \"C\")", "trim({text})", "translate({text}, 'aeiou', 'uoiea')", "'k' || ({any} IS NULL)",
]  # fmt: skip
TO = {
    "text": TO_TEXT,
    "int": ["length({text})", "{int} + 1", "ascii({text})", "cardinality({texts})", "extract(year FROM {date})::int",
            "octet_length({bytes})", "coalesce({int}, {int})", "position('z' in {text})", "hashtext({text})",
            "(SELECT count(*)::int FROM orders WHERE orders.id = 3)"],
    "num": ["{num} * 2", "round({num})", "{int}::numeric", "net_price({num})", "-{num}", "coalesce({num}, {num})"],
    "date": ["{date} + 1", "coalesce({date}, {date})", "date_trunc('year', {date})::date"],
    "texts": ["ARRAY[{text}, {text}]", "string_to_array({text}, '.')", "{texts} || ARRAY[{text}]"],
    "json": ["to_jsonb({any})", "jsonb_build_array({any}, {any})", "{json} -> 'nick'", "coalesce({json}, {json})"],
    "bytes": ["convert_to({text}, 'UTF8')", "{bytes} || '\\x01'::bytea"],
    "row": ["ROW({any}, {any})"],
    "bool": ["{text} LIKE 'q%'", "{num} > 3", "{any} IS NOT NULL", "{text} = {text}", "{int} IN (1, 2)", "true",
             "EXISTS (SELECT 1 FROM orders o WHERE o.id = 1)", "'q' = ANY ({texts})"],
}  # fmt: skip
AGGREGATES = [("max({text})", "text"), ("min({text})", "text"), ("string_agg({text}, ',' ORDER BY {int})", "text"),
              ("count(*)", "int"), ("count({any})", "int"), ("sum({num})", "num"),
              ("jsonb_agg({any} ORDER BY {int})", "json"),
              ("max({num}) FILTER (WHERE {bool})", "num"), ("array_agg({text} ORDER BY {int})", "texts"),
              ("mode() WITHIN GROUP (ORDER BY {text})", "text"), ("bool_or({bool})::text", "text")]  # fmt: skip
WINDOWS = [("lag({text}) OVER (ORDER BY {int})", "text"), ("first_value({text}) OVER (ORDER BY {int})", "text"),
           ("max({text}) OVER ()", "text"), ("sum({num}) OVER (PARTITION BY {text})", "num"),
           ("row_number() OVER (ORDER BY {int})::text", "text"), ("count({any}) OVER ()", "int")]  # fmt: skip

Columns = list[tuple[str, str]]


@dataclass
class Scope:
    """Columns in reach, by reference, and rows in reach, by alias."""

    columns: Columns = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def queries(tables: dict[str, Columns]) -> st.SearchStrategy[str]:
    """Return a strategy of whole queries over `tables`."""

    @st.composite
    def whole(draw: DrawFn) -> str:
        return _query(draw, tables, draw(st.integers(0, 3)), Scope(), {})[0]

    return whole()


def _query(
    draw: DrawFn, tables: dict[str, Columns], depth: int, outer: Scope, expressions: dict[str, Columns]
) -> tuple[str, Columns]:
    shape = draw(st.sampled_from(["select", "select", "select", "union", "with", "aggregate"]))
    if depth and shape == "with":
        name = draw(st.sampled_from(["c1", "c2", *NAMES[:3]]))
        inner, columns = _query(draw, tables, depth - 1, Scope(), expressions)
        renamed, columns = _renamed(draw, name, columns)
        body, found = _query(draw, tables, depth - 1, outer, {**expressions, name: columns})
        return f"WITH {renamed} AS ({inner}) {body}", found
    if depth and shape == "union":
        left, columns = _query(draw, tables, depth - 1, outer, expressions)
        right, others = _query(draw, tables, depth - 1, outer, expressions)
        if [kind for _, kind in columns] == [kind for _, kind in others]:
            return f"({left}) UNION ALL ({right})", columns
        return left, columns
    return _select(draw, tables, depth, outer, expressions, aggregate=shape == "aggregate")


def _select(
    draw: DrawFn,
    tables: dict[str, Columns],
    depth: int,
    outer: Scope,
    expressions: dict[str, Columns],
    *,
    aggregate: bool,
) -> tuple[str, Columns]:
    scope = Scope()
    items = []
    for place in range(draw(st.integers(1, 2))):
        text, alias, columns = _item(draw, tables, depth, f"t{depth}{place}", scope, outer, expressions)
        scope.columns += [(f"{alias}.{name}", kind) for name, kind in columns]
        scope.rows.append(alias)
        items.append(text)
    joined = items[0]
    for item in items[1:]:
        between = draw(st.sampled_from([", ", " CROSS JOIN ", " LEFT JOIN "]))
        joined += between + item + (" ON true" if "LEFT" in between else "")
    targets, found = _targets(draw, scope, outer, aggregate=aggregate)
    return f"SELECT {', '.join(targets)} FROM {joined}", found


def _item(
    draw: DrawFn, tables: dict[str, Columns], depth: int, alias: str, beside: Scope, outer: Scope,
    expressions: dict[str, Columns],
) -> tuple[str, str, Columns]:  # fmt: skip
    kind = draw(st.sampled_from(["table", "table", "subquery", "lateral", "function"]))
    if kind in {"subquery", "lateral"} and depth:
        reach = Scope(beside.columns + outer.columns, []) if kind == "lateral" else outer
        text, columns = _query(draw, tables, depth - 1, reach, expressions)
        shown, columns = _renamed(draw, alias, columns)
        return f"{'LATERAL ' if kind == 'lateral' else ''}({text}) AS {shown}", alias, columns
    if kind == "function" and beside.columns:
        text = _of(draw, "texts", beside)
        return f"unnest({text}) AS {alias} (v)", alias, [("v", "text")]
    names = sorted(tables) + sorted(expressions)
    name = draw(st.sampled_from(names))
    columns = expressions.get(name) or tables[name]
    shown, columns = _renamed(draw, alias, columns)
    return f"{name} AS {shown}", alias, columns


def _renamed(draw: DrawFn, alias: str, columns: Columns) -> tuple[str, Columns]:
    names = [name for name, _ in columns]
    if not draw(st.booleans()) and len(set(names)) == len(names) and all(names):
        return alias, columns
    fresh = [f"k{at}" for at in range(len(columns))]
    shuffled = [*dict.fromkeys([*draw(st.lists(st.sampled_from(NAMES), max_size=len(columns))), *fresh])][
        : len(columns)
    ]
    renamed = list(zip(shuffled, (kind for _, kind in columns), strict=True))
    return f"{alias} ({', '.join(shuffled)})", renamed


def _targets(draw: DrawFn, scope: Scope, outer: Scope, *, aggregate: bool) -> tuple[list[str], Columns]:
    reach = Scope(scope.columns + outer.columns, scope.rows)
    if not aggregate and draw(st.integers(0, 5)) == 0:
        return ["*"], [(reference.partition(".")[2], kind) for reference, kind in scope.columns]
    targets, found = [], []
    for place in range(draw(st.integers(1, 3))):
        if aggregate:
            form, kind = draw(st.sampled_from(AGGREGATES))
            text = _filled(draw, form, scope if scope.columns else reach, 1)
        elif draw(st.integers(0, 5)) == 0:
            form, kind = draw(st.sampled_from(WINDOWS))
            text = _filled(draw, form, reach, 1)
        elif scope.rows and draw(st.integers(0, 6)) == 0:
            text, kind = f"{draw(st.sampled_from(scope.rows))}::text", "text"
        else:
            kind = draw(st.sampled_from(["text", "text", "text", "int", "num", "date", "texts", "json", "bytes"]))
            text = _of(draw, kind, reach)
        name = draw(st.sampled_from(["", *NAMES]))
        name = name if name and name not in [known for known, _ in found] else f"o{place}"
        targets.append(f"{text} AS {name}")
        found.append((name, kind))
    return targets, found


def _of(draw: DrawFn, kind: str, scope: Scope, depth: int = 2) -> str:
    """Return an expression of a type, of what is in reach."""
    if kind == "any":
        kind = draw(st.sampled_from(["text", "int", "num", "date", "json"]))
    here = [name for name, known in scope.columns if known == kind]
    if here and (depth == 0 or draw(st.booleans())):
        return draw(st.sampled_from(here))
    if depth == 0 or (kind != "bool" and draw(st.integers(0, 9)) == 0):
        return LEAVES.get(kind, "true")
    return _filled(draw, draw(st.sampled_from(TO[kind])), scope, depth - 1)


def _filled(draw: DrawFn, form: str, scope: Scope, depth: int) -> str:
    pieces = form.replace("'{}'", "'@@'").split("{")
    text = pieces[0]
    for piece in pieces[1:]:
        kind, _, rest = piece.partition("}")
        text += _of(draw, kind, scope, depth) + rest
    return text.replace("'@@'", "'{}'")
