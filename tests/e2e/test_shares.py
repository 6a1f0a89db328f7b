"""What one subject, and one session, may take of a gateway that others use too."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from crash.scene import serving
from running import connection_table, write_home

from gateway.demo.postgres import PostgresServer


def test_one_subject_takes_no_more_than_its_share(postgres: PostgresServer, orders: str, tmp_path: Path) -> None:
    table = connection_table("plain", postgres, orders)
    write_home(tmp_path, postgres.password, [table], "[limits]\nconnections_per_subject = 2\n")
    with serving(tmp_path) as gateway:
        mine, others = (gateway.connect_arguments("plain", gateway.token(name)) for name in ("agent-1", "agent-2"))
        first, second = psycopg.connect(**mine), psycopg.connect(**mine)
        with pytest.raises(psycopg.OperationalError, match="as many sessions as one subject may"):
            psycopg.connect(**mine)
        psycopg.connect(**others).close()
        refused = gateway.query("SELECT subject FROM records WHERE kind = 'login_refused'")
        assert refused == [{"subject": "agent-1"}]
        first.close()
        for _ in range(100):  # the place is free once the session has ended, not when its client left
            try:
                psycopg.connect(**mine).close()
                break
            except psycopg.OperationalError:
                continue
        else:
            pytest.fail("the place never became free")
        second.close()
        assert gateway.stop() == 0, gateway.log
