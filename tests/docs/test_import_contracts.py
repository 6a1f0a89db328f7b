"""The import contracts name every module that they should: a new one cannot slip past them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


def test_the_console_may_import_nothing_but_the_protocol_and_the_model() -> None:
    contract = CONTRACTS["the console knows only the control protocol and the model"]
    parts = {
        f"gateway.{path.stem}"
        for path in (ROOT / "gateway").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    allowed = {"gateway.__init__", "gateway.control", "gateway.model"}
    assert sorted(contract["forbidden_modules"]) == sorted(parts - allowed)


def test_pure_parts_exist() -> None:
    contract = CONTRACTS["the wire, policy, ledger, chain and mask plans do no I/O"]
    for module in contract["source_modules"]:
        path = ROOT.joinpath(*module.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_the_model_imports_nothing_else_of_ours() -> None:
    modules = sorted((ROOT / "gateway" / "model").glob("*.py"))
    of_ours = re.compile(r"^\s*(?:from|import) ((?:gateway|hoop_tui)\S*)", re.MULTILINE)
    found = {name for path in modules for name in of_ours.findall(path.read_text())}
    assert found == {f"gateway.model.{path.stem}" for path in modules if path.stem != "__init__"}
