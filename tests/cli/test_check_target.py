"""`check` against a real PostgreSQL: it logs in, and finds the marked columns or says which it does not."""

from __future__ import annotations

from pathlib import Path

from commanding import hoop_gateway

from gateway.demo.postgres import PostgresServer


async def test_check_reaches_the_target(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    await hoop_gateway("init", tmp_path / "g")
    config = tmp_path / "g" / "gateway.toml"
    base = config.read_text()

    def connection(user: str, mask: str) -> str:
        target = f"postgresql://{postgres.host}:{postgres.port}/{database}"
        password = "password = 'env:TARGET_PASSWORD'"
        return (
            f"{base}[[connection]]\nname = 'o'\ntarget = '{target}'\nusername = '{user}'\n{password}\nmask=[{mask}]\n"
        )

    config.write_text(connection(postgres.user, "'pg_catalog.pg_class.relname'"))
    done = await hoop_gateway("check", "-c", config, TARGET_PASSWORD=postgres.password)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok: " in done.stdout

    config.write_text(connection(postgres.user, "'public.users.email'"))
    done = await hoop_gateway("check", "-c", config, TARGET_PASSWORD=postgres.password)
    assert done.returncode == 1
    assert "fault: connection o: mask: public.users.email matches no column" in done.stdout

    done = await hoop_gateway("check", "-c", config, TARGET_PASSWORD="wrong-Sesame")
    assert done.returncode == 1
    assert "fault: connection o: " in done.stdout
    assert "wrong-Sesame" not in done.stdout + done.stderr
