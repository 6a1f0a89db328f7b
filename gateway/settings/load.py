"""Reads `gateway.toml` and the `HOOP_…` variables, and turns every fault into one line that names the key.

Variables win over the file: `HOOP_GATEWAY__NAME`, `HOOP_CONNECTION__0__USERNAME` (entries of a list by their place,
from 0); a list is written as a JSON array. A variable that starts with `HOOP_` and contains `__` must name a key.
No fault ever quotes a value.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from gateway.errors import ConfigurationFault
from gateway.settings.approvals import ApprovalsTable
from gateway.settings.recipients import held
from gateway.settings.tables import ConnectionTable, EvidenceTable, IdentityTable, Settings
from gateway.settings.values import KEY

PREFIX = "HOOP_"
DELIMITER = "__"
SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path is 108 bytes with its NUL (unix(7))


class SettingsFault(ConfigurationFault):
    """The configuration is wrong; `faults` has one line for each thing that is."""

    def __init__(self, file: Path, faults: list[str]) -> None:
        self.file = file
        self.faults = tuple(faults)
        more = f" (and {len(faults) - 1} more: `hoop-gateway check` lists them)" if len(faults) > 1 else ""
        super().__init__(f"{file}: {faults[0]}{more}")


def load(path: Path, environ: Mapping[str, str] | None = None, content: bytes | None = None) -> Settings:
    """Read the configuration at `path`; relative paths in it are relative to its directory.

    With `content`, that stands for what is in the file now: a process goes on by what another one read.

    Raises SettingsFault (a ConfigurationFault) naming each wrong key, its words free of values.
    """
    path = Path(path).absolute()
    variables = os.environ if environ is None else environ
    if content is None and not path.is_file():
        raise SettingsFault(path, ["no such file; `hoop-gateway init DIR` writes one"])

    class _FromHere(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (_FileAndEnvironment(settings_cls, path, variables, text),)

    try:
        text = path.read_bytes() if content is None else content
        settings: Settings = _FromHere()  # type: ignore[call-arg]  # the source above fills it
    except ValidationError as fault:
        raise SettingsFault(path, _words(fault)) from None
    except tomllib.TOMLDecodeError as fault:
        raise SettingsFault(path, [f"not TOML: {fault}"]) from None
    except UnicodeDecodeError:
        raise SettingsFault(path, ["not TOML: it is not UTF-8"]) from None
    except OSError as fault:
        raise SettingsFault(path, [f"cannot be read: {fault.strerror}"]) from None
    except _VariableFault as fault:
        raise SettingsFault(path, [str(fault)]) from None
    settings = _absolute(settings, path.parent).written_in(path, text)
    faults = _file_faults(settings, variables)
    if faults:
        raise SettingsFault(path, faults)
    return settings


class _VariableFault(Exception):
    """A HOOP_ variable that cannot be used."""


class _FileAndEnvironment(TomlConfigSettingsSource):
    """The file with the variables laid over it: one source, since variables reach into the file's lists."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path, environ: Mapping[str, str], text: bytes) -> None:
        self._text = text
        super().__init__(settings_cls, path)
        self._environ = environ

    def _read_files(self, *_: Any, **__: Any) -> dict[str, Any]:
        return tomllib.loads(self._text.decode("utf-8"))

    def __call__(self) -> dict[str, Any]:
        data = super().__call__()
        seen: dict[tuple[str, ...], str] = {}
        for variable in sorted(self._environ):
            if not variable.startswith(PREFIX) or DELIMITER not in variable:
                continue
            keys = tuple(variable.removeprefix(PREFIX).lower().split(DELIMITER))
            if keys in seen:
                raise _VariableFault(f"{variable} and {seen[keys]} name the same key")
            seen[keys] = variable
            _lay_over(data, keys, variable, self._environ[variable])
        return data


def _lay_over(data: dict[str, Any], keys: tuple[str, ...], variable: str, text: str) -> None:
    """Put `text` into `data` at `keys`, following the shape of Settings."""
    shape: Any = Settings
    place: Any = data
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isascii() or not key.isdigit() or int(key) >= len(place) or last:
                raise _VariableFault(f"{variable}: names no key (entries of a list are numbered from 0)")
            place = place[int(key)]
            continue
        if not isinstance(place, dict):
            raise _VariableFault(f"{variable}: names no key")
        if shape is None or key not in shape.model_fields:
            raise _VariableFault(f"{variable}: names no key")
        shape, many = _inner(shape.model_fields[key].annotation)
        if not last:
            place = place.setdefault(key, [] if many else {})
        elif shape is not None and not many:
            raise _VariableFault(f"{variable}: names a table; name one of its keys")
        else:
            place[key] = _array(variable, text) if many else text


def _inner(annotation: Any) -> tuple[Any, bool]:
    """Return the table behind a field's type (None: a plain value), and whether the field is a list."""
    if get_origin(annotation) is tuple:
        table, _ = _inner(get_args(annotation)[0])
        return table, True
    for option in get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option, False
    if hasattr(annotation, "__metadata__"):
        return _inner(annotation.__origin__)
    return None, False


def _array(variable: str, text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise _VariableFault(f'{variable}: write a JSON array, such as ["a", "b"]')
    return value


def _words(fault: ValidationError) -> list[str]:
    """One line a fault: the key's path and what is wrong, never the input."""
    lines = []
    for error in fault.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(part) for part in error["loc"])
        words = {"extra_forbidden": "unknown key", "missing": "missing"}.get(
            error["type"], error["msg"].removeprefix("Value error, ")
        )
        lines.append(f"{key}{'.' if error['type'] == KEY else ': '}{words}" if key else words)
    return lines


def _absolute(settings: Settings, base: Path) -> Settings:
    """Resolve every path against the configuration's directory."""
    gateway, postgres = settings.gateway, settings.postgres
    return settings.model_copy(
        update={
            "gateway": gateway.model_copy(
                update={
                    "state_dir": base / gateway.state_dir,
                    "control_socket": base / gateway.control_socket,
                }
            ),
            "postgres": postgres.model_copy(
                update={
                    "tls_cert": base / postgres.tls_cert,
                    "tls_key": base / postgres.tls_key,
                    "client_ca": base / postgres.client_ca if postgres.client_ca is not None else None,
                }
            ),
            "approvals": _absolute_approvals(settings.approvals, base, base / settings.vault_dir),
            "identity": _absolute_identity(settings.identity, base, base / settings.vault_dir),
            "evidence": _absolute_evidence(settings.evidence, base),
            "connection": tuple(
                _absolute_connection(entry, base, base / settings.vault_dir) for entry in settings.connection
            ),
        }
    )


def _absolute_identity(table: IdentityTable, base: Path, vault: Path) -> IdentityTable:
    update: dict[str, object] = {"client_secret": _absolute_reference(table.client_secret, base, vault)}
    if table.realm is not None:
        update["realm"] = base / table.realm
    return table.model_copy(update=update)


def _absolute_approvals(table: ApprovalsTable, base: Path, vault: Path) -> ApprovalsTable:
    def references(found: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(_absolute_reference(each, base, vault)) for each in found)

    hooks = tuple(
        each.model_copy(update={"secret": _absolute_reference(each.secret, base, vault)}) for each in table.webhook
    )
    escalation = table.escalation
    if escalation is not None:
        escalation = escalation.model_copy(update={"notify": references(escalation.notify)})
    return table.model_copy(update={"notify": references(table.notify), "webhook": hooks, "escalation": escalation})


def _absolute_evidence(table: EvidenceTable, base: Path) -> EvidenceTable:
    def place(path: Path | None) -> Path | None:
        return None if path is None else base / path

    sinks = [
        sink.model_copy(update={"file": place(sink.file), "directory": place(sink.directory)}) for sink in table.sink
    ]
    update: dict[str, object] = {"sink": tuple(sinks)}
    if table.timestamp is not None:
        update["timestamp"] = table.timestamp.model_copy(update={"certificate": base / table.timestamp.certificate})
    return table.model_copy(update=update)


def _absolute_connection(entry: ConnectionTable, base: Path, vault: Path) -> ConnectionTable:
    update: dict[str, object] = {"password": _absolute_reference(entry.password, base, vault)}
    if entry.target.sslrootcert not in {None, "system"}:
        update["target"] = replace(entry.target, sslrootcert=str(base / str(entry.target.sslrootcert)))
    return entry.model_copy(update=update)


def _absolute_reference(reference: str | None, base: Path, vault: Path) -> str | None:
    """Make a reference one that `gateway.target.credentials` finds without the settings."""
    kind, _, name = (reference or "").partition(":")
    match kind:
        case "file":
            return f"file:{base / name}"
        case "vault":
            return f"vault:{vault}#{name}"
    return reference


def _file_faults(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Name the keys whose files are missing or hold what they must not, and a socket path too long for the kernel."""
    faults = []
    if len(os.fsencode(settings.gateway.control_socket)) > SOCKET_PATH_BYTES:
        faults.append(
            f"gateway.control_socket: the whole path is longer than {SOCKET_PATH_BYTES} bytes; choose a shorter one"
        )
    wanted = [("postgres.tls_cert", settings.postgres.tls_cert), ("postgres.tls_key", settings.postgres.tls_key)]
    if settings.postgres.client_ca is not None:
        wanted.append(("postgres.client_ca", settings.postgres.client_ca))
    identity = settings.identity
    if identity.client_secret is not None and identity.client_secret.startswith("file:"):
        wanted.append(("identity.client_secret", Path(identity.client_secret.removeprefix("file:"))))
    if identity.realm is not None:
        wanted.append(("identity.realm", identity.realm))
    if settings.evidence.timestamp is not None:
        wanted.append(("evidence.timestamp.certificate", settings.evidence.timestamp.certificate))
    for number, reference in enumerate(settings.approvals.notify):
        if reference.startswith("file:"):
            wanted.append((f"approvals.notify.{number}", Path(reference.removeprefix("file:"))))
    for number, hook in enumerate(settings.approvals.webhook):
        if hook.secret.startswith("file:"):
            wanted.append((f"approvals.webhook.{number}.secret", Path(hook.secret.removeprefix("file:"))))
    for number, entry in enumerate(settings.connection):
        if entry.password is not None and entry.password.startswith("file:"):
            wanted.append((f"connection.{number}.password", Path(entry.password.removeprefix("file:"))))
        if entry.target.sslrootcert not in {None, "system"}:
            wanted.append((f"connection.{number}.target", Path(str(entry.target.sslrootcert))))
    faults += [f"{key}: no such file: {path}" for key, path in wanted if _missing(path)]
    lying = held(settings.evidence.recipients, settings.gateway.state_dir, environ, tuple(path for _, path in wanted))
    faults += [f"evidence.recipients: the secret key of one of them lies in {place}; take it away" for place in lying]
    return faults


def _missing(path: Path) -> bool:
    """Say whether nothing is there; a place we may not look into is the reader's business, not a missing file."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
