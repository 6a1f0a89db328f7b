"""Agents that write rows and read masked ones by every way the wire has, until their gateway is gone.

Each statement, and each row that it writes, has an id of its own.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

SCHEMA = """
CREATE TABLE written (id text PRIMARY KEY);
CREATE TABLE cards (card text);
INSERT INTO cards SELECT 'card-' || i FROM generate_series(1, 50) i
"""


@dataclass
class Load:
    """What several agents did. `acknowledged` are the ids whose statement, or commit, was answered."""

    round: str
    acknowledged: set[str] = field(default_factory=set, repr=False)
    faults: list[Exception] = field(default_factory=list)
    _asked: threading.Event = field(default_factory=threading.Event, repr=False)
    _told: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _threads: list[threading.Thread] = field(default_factory=list, repr=False)

    def start(self, arguments: Mapping[str, Any], *, held: bool = False) -> None:
        """Start one agent for each way; with `held`, one more whose statement waits for a person for ever."""
        for way, run in (*WAYS.items(), *([("held", _held)] if held else [])):
            thread = threading.Thread(target=self._agent, args=(way, run, arguments), daemon=True)
            self._threads.append(thread)
            thread.start()
        if held:
            assert self._asked.wait(30), "nothing is held"

    def wait(self, count: int, seconds: float = 30) -> None:
        """Return once `count` ids were acknowledged."""
        with self._told:
            enough = self._told.wait_for(lambda: len(self.acknowledged) >= count or self.faults, seconds)
            assert enough, f"{self}: {len(self.acknowledged)} of {count} were acknowledged"
            assert not self.faults, self.faults

    def join(self) -> None:
        """Return once every agent noticed that its gateway is gone."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "an agent hangs although its gateway is gone"

    def _agent(self, way: str, run: Way, arguments: Mapping[str, Any]) -> None:
        ids = (f"<{self.round}.{way}.{n}>" for n in itertools.count())
        try:
            with psycopg.connect(**arguments, autocommit=True) as connection:
                connection.add_notice_handler(lambda notice: self._asked.set())
                for done in run(connection, ids):
                    with self._told:
                        self.acknowledged.update(done)
                        self._told.notify_all()
        except psycopg.OperationalError:
            return  # the gateway was killed
        except Exception as fault:  # noqa: BLE001  told by `wait`
            with self._told:
                self.faults.append(fault)
                self._told.notify_all()


Way = Callable[[psycopg.Connection[Any], Iterator[str]], Iterator[list[str]]]

_INSERT = "INSERT INTO written VALUES (%s)"


def _simple(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(f"INSERT INTO written VALUES ('{each}')".encode())
        yield [each]


def _extended(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(_INSERT, (each,), prepare=False)
        yield [each]


def _prepared(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(_INSERT, (each,), prepare=True)
        yield [each]


def _binary(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute("INSERT INTO written VALUES (%b)", (each,), prepare=True)
        yield [each]


def _block(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        done = [each, next(ids)]
        with connection.transaction():
            for one in done:
                connection.execute(_INSERT, (one,))
        yield done


def _pipeline(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        done = [each, *itertools.islice(ids, 4)]
        with connection.pipeline():
            for one in done:
                connection.execute(_INSERT, (one,))
        yield done


def _copy(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        done = [each, *itertools.islice(ids, 19)]
        with connection.cursor().copy("COPY written FROM STDIN") as copy:
            for one in done:
                copy.write_row((one,))
        yield done


def _masked(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(f"SELECT card, '{each}' FROM cards WHERE card <> 'card-7'".encode())
        yield [each]


def _withheld(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(f"SELECT card, '{each}' FROM cards WHERE card <> %s".encode(), ("card-7",))
        yield [each]


def _held(connection: psycopg.Connection[Any], ids: Iterator[str]) -> Iterator[list[str]]:
    for each in ids:
        connection.execute(f"DELETE FROM written WHERE id = '{each}'".encode())
        yield [each]


WAYS: dict[str, Way] = {
    "simple": _simple,
    "extended": _extended,
    "prepared": _prepared,
    "binary": _binary,
    "block": _block,
    "pipeline": _pipeline,
    "copy": _copy,
    "masked": _masked,
    "withheld": _withheld,
}
READING = ("masked", "withheld")
"""Those that write no row."""
