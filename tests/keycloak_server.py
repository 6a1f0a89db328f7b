"""A real Keycloak in development mode on loopback, with the realm that comes with the gateway imported.

The distribution lies as a zip in a folder outside the repository (`HOOP_KEYCLOAK_DIR`, else `~/.cache/hoop-keycloak`)
and is unpacked there once: the first start also compiles its configuration, which later ones find. Everything it
stores is in memory. Stopped by its process id.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from keycloak import KeycloakAdmin

import outside_server

VERSION = "26.3.5"
FOLDER = Path(os.environ.get("HOOP_KEYCLOAK_DIR") or Path.home() / ".cache" / "hoop-keycloak")
ARTIFACT = FOLDER / f"keycloak-quarkus-dist-{VERSION}.zip"
FETCH = (
    f"mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip -DoutputDirectory={FOLDER}"
)
"""The command that fetches the distribution, from wherever Maven is told to get artifacts."""
REALM_FILE = Path(__file__).parents[1] / "gateway" / "identity" / "realm.json"
START_SECONDS = 240


@dataclass
class Keycloak:
    """A running server. `admin` is its administrator's password."""

    url: str
    admin: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def issuer(self, realm: str = "hoop") -> str:
        return f"{self.url}/realms/{realm}"

    def api(self, realm: str = "hoop") -> KeycloakAdmin:
        """The admin API of a realm."""
        return KeycloakAdmin(
            server_url=f"{self.url}/", username="admin", password=self.admin, realm_name=realm, user_realm_name="master"
        )

    def secret(self, client: str, realm: str = "hoop") -> str:
        """The secret that Keycloak gave a client."""
        api = self.api(realm)
        return str(api.get_client_secrets(api.get_client_id(client))["value"])

    def stop(self) -> None:
        outside_server.stop(self.process)


def start(log: Path) -> Keycloak:
    """Start a server; returns once it answers."""
    home = _unpacked()
    imported = home / "data" / "import"
    imported.mkdir(parents=True, exist_ok=True)
    shutil.copy(REALM_FILE, imported / "hoop-realm.json")
    port = outside_server.free_port()
    password = secrets.token_urlsafe(16)
    command = ["bash", str(home / "bin" / "kc.sh"), "start-dev", "--import-realm", "--db=dev-mem", "--cache=local",
               "--http-host=127.0.0.1", f"--http-port={port}"]  # fmt: skip
    environment = {
        **os.environ,
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx400m -XX:TieredStopAtLevel=1",
    }
    process = outside_server.launch("Keycloak", command, environment, log, b"Listening on: ", START_SECONDS)
    return Keycloak(f"http://127.0.0.1:{port}", password, process)


def _unpacked() -> Path:
    """Unpack the distribution, where that was not done before."""
    home = FOLDER / f"keycloak-{VERSION}"
    if not home.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as beside, zipfile.ZipFile(ARTIFACT) as archive:
            archive.extractall(beside)
            Path(beside, home.name).rename(home)
    return home
