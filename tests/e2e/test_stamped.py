"""A gateway whose checkpoints a real time-stamping authority stamps: what `check`, `status` and `verify` say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from e2e.running import write_home
from e2e.test_witnessed import serving, status, until
from time_stamping import Authority, make_authority


@contextmanager
def at_work(authority: Authority) -> Iterator[int]:
    """The authority behind HTTP, in a thread; gives its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = authority.stamp(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_checkpoints_are_stamped_while_it_runs_and_at_a_stop(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "tsa")
    with at_work(authority) as port:
        url = f"http://127.0.0.1:{port}/tsr"
        table = f'[evidence.timestamp]\nurl = "{url}"\ncertificate = "tsa/tsa.pem"\nevery = "1s"\n'
        write_home(tmp_path, "x", [], table)
        with serving(tmp_path) as gateway:
            checked = gateway.command("check", "-c", str(gateway.config), check=False).stdout
            assert "evidence.timestamp" not in checked
            (told,) = until(gateway, lambda told: all(one["size"] for one in told["witnesses"][0]["logs"].values()))[
                "witnesses"
            ]
            assert (told["name"], told["fault"]) == (f"rfc3161:127.0.0.1:{port}/tsr", None)
            assert all("unwitnessed" not in head for head in status(gateway)[1]["evidence"].values())
    stamps = sorted(gateway.evidence.glob("logs/*/checkpoints/*.tsr"))
    assert {path.parents[1].name for path in stamps} == {"control", "w1"}
    assert (gateway.evidence / "tsa.pem").read_bytes() == authority.certificates.read_bytes()
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert (done.returncode, "time stamp" in done.stdout) == (0, False), done.stdout
    stamps[0].write_bytes(stamps[-1].read_bytes())
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert (done.returncode, "is not the one that was recorded" in done.stdout) == (1, True), done.stdout


def test_one_that_is_not_there_is_named_and_stops_nothing(tmp_path: Path) -> None:
    make_authority(tmp_path / "tsa")
    with at_work(Authority(tmp_path / "tsa")) as port:
        pass
    table = f'[evidence.timestamp]\nurl = "http://127.0.0.1:{port}/tsr"\ncertificate = "tsa/tsa.pem"\nevery = "1s"\n'
    write_home(tmp_path, "x", [], table)
    with serving(tmp_path) as gateway:
        told = until(gateway, lambda told: told["witnesses"][0]["fault"])
        assert "cannot be reached" in told["witnesses"][0]["fault"]
        assert told["healthy"] is True
        checked = gateway.command("check", "-c", str(gateway.config), check=False).stdout
        assert "fault: evidence.timestamp.url: cannot be reached" in checked
