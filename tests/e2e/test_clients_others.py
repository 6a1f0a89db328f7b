"""pg8000 and SQLAlchemy: the same scripts directly and through the gateway."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pg8000.dbapi
import pg8000.native
import psycopg
import pytest
import sqlalchemy
from running import RunningGateway
from sqlalchemy import orm
from wire_client import Wire

from gateway.demo.postgres import PostgresServer

SOURCE = (b"F", b"L", b"R")
"""Fields that say where in PostgreSQL's source a message comes from."""
CONNECTIONS = ["orders", "observed"]


def native(connection: Any) -> object:
    found: list[object] = []

    def attempt(sql: str, **values: object) -> None:
        try:
            rows = connection.run(sql, **values)
        except pg8000.native.DatabaseError as error:
            found.append({key: value for key, value in error.args[0].items() if key not in "FLR"})
        else:
            columns = connection.columns and [
                {key: value for key, value in each.items() if key != "table_oid"} for each in connection.columns
            ]
            found.append((rows, columns, connection.row_count))

    attempt("SELECT * FROM kinds WHERE id = 1")
    attempt("SELECT id, label FROM items WHERE id < :top ORDER BY id", top=4)
    attempt("SELECT :one::int + 1, :text || 'x', :raw::bytea, :none::int", one=1, text="ü", raw=b"\0\xff", none=None)
    attempt("SELECT 1; SELECT 2")
    attempt("SELECT shouts('a')")
    found += [{key: value for key, value in each.items() if key not in SOURCE} for each in connection.notices]
    for sql in ("SELECT 1/0", "SELECT missing FROM items", "SELEC", "INSERT INTO parents VALUES (1, '')", ""):
        attempt(sql)
    attempt("START TRANSACTION")
    attempt("INSERT INTO scratch VALUES (:id, :note)", id=1, note="one")
    attempt("INSERT INTO scratch VALUES (1)")
    attempt("SELECT 1")
    attempt("ROLLBACK")
    statement = connection.prepare("SELECT label FROM items WHERE id = :id")
    found.append([statement.run(id=number) for number in (1, 2, 3)])
    statement.close()
    found.append(connection.parameter_statuses.get("server_version"))
    return found


def dbapi(connection: Any) -> object:
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO scratch VALUES (%s, %s)", [(number, f"n{number}") for number in range(50)])
    found: list[object] = [cursor.rowcount]
    cursor.execute("COPY scratch (id, note) FROM STDIN", stream=iter([b"100\ta\n", b"101\tb\n"]))
    cursor.execute("SELECT id, note FROM scratch ORDER BY id")
    found.append([cursor.fetchmany(3), cursor.fetchall(), cursor.description])
    out: list[bytes] = []

    class Sink:
        def write(self, data: bytes) -> None:
            out.append(bytes(data))

    cursor.execute("COPY (SELECT id, note FROM scratch ORDER BY id) TO STDOUT", stream=Sink())
    found.append(b"".join(out))
    connection.rollback()
    cursor.execute("SELECT count(*) FROM scratch")
    found.append(cursor.fetchall())
    connection.rollback()
    return found


def trusting(gateway: RunningGateway) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(gateway.root_certificate))


@pytest.mark.parametrize("name", CONNECTIONS)
@pytest.mark.parametrize("script", [native, dbapi], ids=lambda script: script.__name__)
def test_pg8000_sees_the_same(
    postgres: PostgresServer, orders: str, gateway: RunningGateway, token: str, scratch: Wire, name: str,
    script: Callable[[Any], object],
) -> None:  # fmt: skip
    make: Callable[..., Any] = pg8000.native.Connection if script is native else pg8000.dbapi.connect
    place = {"host": "127.0.0.1", "port": postgres.port, "database": orders}
    with closing(make(postgres.user, password=postgres.password, **place)) as connection:
        wanted = script(connection)
    scratch.rows("TRUNCATE scratch, children, parents")
    place = {"host": "127.0.0.1", "port": gateway.port, "database": name}
    with closing(make("agent", password=token, ssl_context=trusting(gateway), **place)) as connection:
        assert script(connection) == wanted


# --- SQLAlchemy -------------------------------------------------------------------------------------------------------


class Base(orm.DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "parents"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    children: orm.Mapped[list[Child]] = orm.relationship(back_populates="owner", order_by="Child.id")


class Child(Base):
    __tablename__ = "children"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    parent: orm.Mapped[int] = orm.mapped_column(sqlalchemy.ForeignKey("parents.id"))
    amount: orm.Mapped[float | None] = orm.mapped_column(sqlalchemy.Numeric(8, 3))
    owner: orm.Mapped[Parent] = orm.relationship(back_populates="children")


TABLES = ["children", "parents", "items", "users", "scratch"]


def reflection(engine: sqlalchemy.Engine) -> object:
    inspector = sqlalchemy.inspect(engine)
    found: list[object] = [
        inspector.get_schema_names(),
        sorted(inspector.get_table_names()),
        inspector.get_view_names(),
    ]
    for table in TABLES:
        found += [
            [{**each, "type": repr(each["type"])} for each in inspector.get_columns(table)],
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
            inspector.get_check_constraints(table),
            inspector.get_indexes(table),
            inspector.get_table_comment(table),
        ]
    found += [inspector.has_table("items"), inspector.has_table("missing"), inspector.get_sequence_names()]
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine, only=TABLES)
    return [*found, sorted(metadata.tables), engine.dialect.server_version_info, engine.dialect.default_schema_name]


def mapped(engine: sqlalchemy.Engine) -> object:
    found: list[object] = []
    with orm.Session(engine) as session:
        session.add_all([Parent(id=1, name="one", children=[Child(id=n, amount=n / 2) for n in range(1, 6)])])
        session.commit()
        parent = session.scalars(sqlalchemy.select(Parent).options(orm.selectinload(Parent.children))).one()
        found.append((parent.name, [(child.id, child.amount) for child in parent.children]))
        parent.name = "renamed"
        session.flush()
        session.rollback()
        found.append(session.get_one(Parent, 1).name)
        try:
            with session.begin_nested():
                session.execute(sqlalchemy.insert(Child).values(id=1, parent=1, amount=1))
        except sqlalchemy.exc.IntegrityError as error:
            found.append(type(error.orig).__name__)
        session.execute(sqlalchemy.update(Child).where(Child.id == 2).values(amount=9))
        session.commit()
        query = sqlalchemy.select(sqlalchemy.func.sum(Child.amount), sqlalchemy.func.count()).join(Parent)
        found.append(session.execute(query).all())
        found.append(list(session.connection().execution_options(stream_results=True).execute(query)))
    return found


def pooled(engine: sqlalchemy.Engine) -> object:
    found: list[object] = []
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO scratch VALUES (1)"))  # rolled back as it goes back
        found.append(connection.get_isolation_level())
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        found.append(connection.execute(sqlalchemy.text("SHOW transaction_isolation")).scalar())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found.append(connection.execute(sqlalchemy.text("SELECT count(*) FROM scratch")).scalar())
    with engine.connect() as connection:
        found.append(connection.get_isolation_level())
        try:
            connection.execute(sqlalchemy.text("SELECT 1/0"))
        except sqlalchemy.exc.DBAPIError as error:
            found.append((type(error).__name__, error.connection_invalidated))
    with engine.connect() as connection:
        found.append(connection.execute(sqlalchemy.text("SELECT 1")).scalar())
    return found


DRIVERS = ["psycopg", "pg8000"]


@pytest.fixture(params=DRIVERS)
def engines(
    postgres: PostgresServer, orders: str, gateway: RunningGateway, token: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[str | None], sqlalchemy.Engine]]:
    opened: list[sqlalchemy.Engine] = []

    def make(name: str | None) -> sqlalchemy.Engine:
        url = sqlalchemy.URL.create(
            f"postgresql+{request.param}",
            username="agent" if name else postgres.user,
            password=token if name else postgres.password,
            host="127.0.0.1",
            port=gateway.port if name else postgres.port,
            database=name or orders,
        )
        secure: dict[str, Any] = {"ssl_context": trusting(gateway)}
        if request.param == "psycopg":
            secure = {"sslmode": "verify-full", "sslrootcert": str(gateway.root_certificate)}
        opened.append(sqlalchemy.create_engine(url, connect_args=secure if name else {}, pool_pre_ping=True))
        return opened[-1]

    yield make
    for engine in opened:
        engine.dispose()


@pytest.mark.parametrize("name", CONNECTIONS)
@pytest.mark.parametrize("script", [reflection, mapped, pooled], ids=lambda script: script.__name__)
def test_sqlalchemy_sees_the_same(
    engines: Callable[[str | None], sqlalchemy.Engine], scratch: Wire, name: str, script: Callable[[Any], object]
) -> None:
    wanted = script(engines(None))
    scratch.rows("TRUNCATE scratch, children, parents")
    assert script(engines(name)) == wanted


def test_sqlalchemy_sees_masked_values(engines: Callable[[str | None], sqlalchemy.Engine]) -> None:
    engine = engines("orders")
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT u.*, u.email || '!' FROM users u WHERE id = 1")).all()
        assert [tuple(row)[1:3] + tuple(row)[4:] for row in rows] == [("name 1", "***", "***")]
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="hoop: denied"):
            connection.execute(sqlalchemy.text("DROP TABLE users"))


assert psycopg  # the driver that SQLAlchemy loads by name
