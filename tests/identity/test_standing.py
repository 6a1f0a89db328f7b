"""Introspection's cache, the kill list, reuse of tokens, and how long a session stands when the issuer is away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trio
import trio.testing
from forging import AUDIENCE, ISSUER, NOW, RSA_KEY, HandClock, StaticKeys, good_claims, jwk, key_set, token

from gateway.errors import ConfigurationFault, IssuerFault, LoginRefused
from gateway.identity import introspection as introspecting
from gateway.identity import kill_list as killing
from gateway.identity import reuse as reusing
from gateway.identity.admission import Admission, Credential
from gateway.identity.claims import Expectations, principal
from gateway.identity.introspection import Introspection
from gateway.identity.kill_list import KillList, KillListFault, Strike
from gateway.identity.reuse import Reuse, TokenUse, host_of
from gateway.identity.verifier import TokenVerifier
from gateway.model import Micros, Principal
from gateway.worker.standing import Outage, Standing

HERE = "127.0.0.1:5000"


def who(**claims: object) -> Principal:
    return principal(good_claims(**claims), Expectations(ISSUER, AUDIENCE), Micros(NOW * 1_000_000))


class Oracle:
    """An issuer that answers as the test says, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.active = True
        self.away = False
        self.more: Mapping[str, object] = {}
        self.go_on = trio.Event()
        self.go_on.set()

    async def ask(self, presented: str) -> Mapping[str, object]:
        self.asked.append(presented)
        await self.go_on.wait()
        await trio.lowlevel.checkpoint()
        if self.away:
            raise IssuerFault("the identity issuer could not be reached (ConnectError)")
        return {"active": self.active, **self.more}


# --- introspection ------------------------------------------------------------------------------------------------


async def test_a_storm_with_one_token_asks_once() -> None:
    oracle, clock = Oracle(), HandClock()
    asks = Introspection(oracle.ask, clock)
    oracle.go_on = trio.Event()
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await asks.active("t", who(), 1))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        oracle.go_on.set()
    assert answers == [True] * 100
    assert len(oracle.asked) == 1
    clock.pass_seconds(1)
    assert await asks.active("t", who(), 1)
    assert len(oracle.asked) == 1, "an answer of exactly that age will do"
    clock.pass_seconds(0.1)
    assert await asks.active("t", who(), 1)
    assert await asks.active("t", who(), 5)
    assert len(oracle.asked) == 2


async def test_no_is_final() -> None:
    oracle, clock = Oracle(), HandClock()
    asks = Introspection(oracle.ask, clock)
    oracle.active = False
    assert not await asks.active("t", who(), 1)
    oracle.active = True
    clock.pass_seconds(1000)
    assert not await asks.active("t", who(), 1)
    assert len(oracle.asked) == 1


async def test_an_issuer_that_failed_is_left_alone_for_a_moment_and_then_believed_again() -> None:
    oracle, clock = Oracle(), HandClock()
    asks = Introspection(oracle.ask, clock)
    assert await asks.active("t", who(), 1)
    oracle.away = True
    clock.pass_seconds(2)
    for name in ("t", "t", "u"):
        with pytest.raises(IssuerFault, match="could not be reached"):
            await asks.active(name, who(), 1)
    assert len(oracle.asked) == 2
    oracle.away = False
    clock.pass_seconds(introspecting.PAUSE_SECONDS)
    assert await asks.active("u", who(), 1)


@pytest.mark.parametrize("more", [{"sub": "mallory"}, {"jti": "other"}, {"iss": "http://other"}])
async def test_an_answer_about_another_token_is_no_answer(more: Mapping[str, object]) -> None:
    oracle = Oracle()
    oracle.more = more
    with pytest.raises(IssuerFault, match="another token"):
        await Introspection(oracle.ask, HandClock()).active("t", who(), 1)


async def test_memory_is_bounded_and_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspecting, "MAX_ANSWERS", 10)
    oracle = Oracle()
    asks = Introspection(oracle.ask, HandClock())
    for number in range(50):
        await asks.active(f"token-{number}", who(), 1)
    assert len(asks._answers) == 10
    assert "token-" not in repr(asks._answers)
    await asks.active("token-49", who(), 1)
    assert len(oracle.asked) == 50, "the newest are still known"


# --- the kill list ------------------------------------------------------------------------------------------------


def strike(kind: str, value: str, **more: object) -> Strike:
    return Strike(kind, value, "dana", "it misbehaves", Micros(NOW * 1_000_000), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "met"),
    [
        (strike("subject", "agent-7"), True),
        (strike("subject", "agent-8"), False),
        (strike("token", "onrtcc:0a1b"), True),
        (strike("token", "agent-7"), False),
        (strike("issuer-session", "s-1"), True),
        (strike("issuer-session", "s-2"), False),
        (strike("subject", "agent-7", issued_before=Micros((NOW - 10) * 1_000_000)), True),
        (strike("subject", "agent-7", issued_before=Micros((NOW - 11) * 1_000_000)), False),
        (strike("subject", "agent-7", until=Micros(NOW * 1_000_000)), False),
        (strike("subject", "agent-7", until=Micros((NOW + 1) * 1_000_000)), True),
    ],
)
def test_who_is_struck(entry: Strike, met: bool, tmp_path: Path) -> None:
    kills = KillList.load(tmp_path / "kill-list.json", HandClock())
    kills.strike(entry)
    assert (kills.struck(who(sid="s-1")) is not None) is met
    again = KillList.load(tmp_path / "kill-list.json", HandClock())
    assert (again.struck(who(sid="s-1")) is not None) is met, "also after a restart"


def test_a_removed_entry_stays_removed_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "kill-list.json"
    kills = KillList.load(path, HandClock())
    kills.strike(strike("subject", "agent-7"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert kills.remove("subject", "agent-7")
    assert not kills.remove("subject", "agent-7")
    assert KillList.load(path, HandClock()).entries() == ()


def test_a_logout_does_not_shorten_an_operators_word(tmp_path: Path) -> None:
    kills = KillList.load(tmp_path / "k", HandClock())
    kills.strike(strike("subject", "agent-7"))
    kills.strike(strike("subject", "agent-7", until=Micros((NOW + 1) * 1_000_000), issued_before=Micros(0)))
    assert [each.until for each in kills.entries()] == [None]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"entries": [1]}', b'{"entries": [{"kind": "person"}]}', b"\xff",
     json.dumps({"entries": [{"kind": "subject", "value": 1, "by": "", "reason": "", "at": 1}]}).encode()],
)  # fmt: skip
def test_a_damaged_list_stops_the_start(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(ConfigurationFault, match="damaged"):
        KillList.load(tmp_path / "k", HandClock())


def test_a_full_list_says_so_and_forgets_what_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killing, "MAX_ENTRIES", 2)
    clock = HandClock()
    kills = KillList.load(tmp_path / "k", clock)
    kills.strike(strike("token", "a", until=Micros((NOW + 5) * 1_000_000)))
    kills.strike(strike("token", "b"))
    with pytest.raises(KillListFault, match="full"):
        kills.strike(strike("token", "c"))
    clock.pass_seconds(5)
    kills.strike(strike("token", "c"))
    assert {each.value for each in kills.entries()} == {"b", "c"}


def test_where_the_disk_fails_the_entry_holds_for_now(tmp_path: Path) -> None:
    kills = KillList.load(tmp_path / "away" / "k", HandClock())
    with pytest.raises(KillListFault, match="holds until the gateway stops"):
        kills.strike(strike("subject", "agent-7"))
    assert kills.struck(who())


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = KillList.load(tmp_path / "k", HandClock())
    kills.strike(strike("subject", "agent-7"))
    monkeypatch.setattr(os, "fsync", _fail)
    with pytest.raises(KillListFault):
        kills.strike(strike("subject", "agent-8"))
    assert [each.name for each in tmp_path.iterdir()] == ["k"]
    assert [each.value for each in KillList.load(tmp_path / "k", HandClock()).entries()] == ["agent-7"]


def _fail(_: int) -> None:
    raise OSError(28, "No space left on device")


# --- reuse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reuse", "second", "refused"),
    [
        ("any", "10.0.0.2", False),
        ("host", "10.0.0.1", False),
        ("host", "10.0.0.2", True),
        ("once", "10.0.0.1", True),
    ],
)
def test_a_replayed_token(reuse: Reuse, second: str, refused: bool) -> None:
    clock = HandClock()
    use = TokenUse(reuse, clock)
    use.use(who(), "10.0.0.1")
    use.use(who(jti="another"), second)
    if refused:
        with pytest.raises(LoginRefused, match="replay"):
            use.use(who(), second)
    else:
        use.use(who(), second)


def test_what_is_remembered_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reusing, "MAX_TOKENS", 2)
    clock = HandClock()
    use = TokenUse("host", clock)
    use.use(who(jti="a"), "h")
    use.use(who(jti="b", exp=NOW + 1000), "h")
    with pytest.raises(LoginRefused, match="too many"):
        use.use(who(jti="c"), "h")
    clock.pass_seconds(300)
    use.use(who(jti="c", exp=NOW + 1000), "h")


@pytest.mark.parametrize(("address", "host"), [("10.0.0.1:99", "10.0.0.1"), ("[::1]:9", "[::1]"), ("x", "x")])
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


# --- admission ----------------------------------------------------------------------------------------------------


class House:
    """An admission with everything real but the issuer."""

    def __init__(self, directory: Path, reuse: Reuse = "host") -> None:
        self.clock, self.oracle = HandClock(), Oracle()
        keys = StaticKeys(key_set(jwk("k1", RSA_KEY)))
        verifier = TokenVerifier(ISSUER, AUDIENCE, "groups", False, self.clock, keys)
        self.kills = KillList.load(directory / "k", self.clock)
        self.door = Admission(
            verifier, Introspection(self.oracle.ask, self.clock), self.kills, TokenUse(reuse, self.clock)
        )


async def test_at_open_the_issuer_must_call_the_token_good(tmp_path: Path) -> None:
    house = House(tmp_path)
    credential = await house.door.admit(token(), HERE)
    assert credential.principal.subject == "agent-7"
    assert token() not in repr(credential)
    house.oracle.active = False
    house.clock.pass_seconds(2)
    with pytest.raises(LoginRefused, match="no longer active"):
        await house.door.admit(token(), HERE)


async def test_at_open_an_issuer_that_is_away_lets_nobody_in(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.oracle.away = True
    with pytest.raises(IssuerFault):
        await house.door.admit(token(), HERE)


async def test_a_forged_token_never_reaches_the_issuer(tmp_path: Path) -> None:
    house = House(tmp_path)
    with pytest.raises(LoginRefused):
        await house.door.admit(token(good_claims(aud="other")), HERE)
    assert house.oracle.asked == []


async def test_who_is_struck_while_the_issuer_is_asked_is_out(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.oracle.go_on = trio.Event()
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(LoginRefused, match="revoked"):
                await house.door.admit(token(), HERE)

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        house.kills.strike(strike("subject", "agent-7"))
        house.oracle.go_on.set()


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"sub": "agent-8", "jti": "2", "exp": NOW + 900}, "another identity"),
        ({"exp": NOW + 900}, "does not last longer"),
        ({"jti": "2"}, "does not last longer"),
        ({"jti": "2", "exp": NOW + 200}, "does not last longer"),
        ({"jti": "2", "exp": NOW - 1}, "expired"),
        ({"jti": "2", "exp": NOW + 900, "aud": "other"}, "audience"),
    ],
)
async def test_only_a_longer_token_of_the_same_identity_renews(
    claims: dict[str, object], words: str, tmp_path: Path
) -> None:
    house = House(tmp_path)
    old = await house.door.admit(token(), HERE)
    with pytest.raises(LoginRefused, match=words):
        await house.door.renew(old, token(good_claims(**claims)), HERE)
    renewed = await house.door.renew(old, token(good_claims(jti="2", exp=NOW + 900)), HERE)
    assert (renewed.principal.token_id, renewed.principal.expires) == ("2", (NOW + 900) * 1_000_000)


async def test_a_renewal_does_not_shed_the_owner_and_takes_new_groups(tmp_path: Path) -> None:
    house = House(tmp_path)
    old = await house.door.admit(token(), HERE)
    fresh = token(good_claims(jti="2", exp=NOW + 900, owner=..., groups=["/other"]))
    renewed = await house.door.renew(old, fresh, HERE)
    assert (renewed.principal.owner, renewed.principal.groups) == ("dana", ("other",))


async def test_a_revoked_token_does_not_renew(tmp_path: Path) -> None:
    house = House(tmp_path)
    old = await house.door.admit(token(), HERE)
    house.oracle.active = False
    with pytest.raises(LoginRefused, match="no longer active"):
        await house.door.renew(old, token(good_claims(jti="2", exp=NOW + 900)), HERE)


# --- a live session -----------------------------------------------------------------------------------------------


class Doorkeeper:
    """Admission as a session sees it: says what the test says, on Trio's clock."""

    def __init__(self) -> None:
        self.say: Callable[[], None] = lambda: None
        self.asked: list[float] = []

    async def stands(self, _credential: Credential, _max_age: float = 1) -> None:
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        self.say()


def on_a_jumping_clock(main: Callable[[Doorkeeper, Standing, list[tuple[str, str]]], object]) -> None:
    async def run() -> None:
        alarms: list[tuple[str, str]] = []
        keeper = Doorkeeper()
        outage = Outage(lambda name, detail: alarms.append((name, detail)))
        standing = Standing(keeper, Credential(who(), "t"), outage, every=5, grace=300)  # type: ignore[arg-type]
        await main(keeper, standing, alarms)  # type: ignore[misc]

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def away() -> None:
    raise IssuerFault("the identity issuer could not be reached (ConnectError)")


def revoked() -> None:
    raise LoginRefused("…", "28P01", "the issuer says that it is no longer active (revoked)")


def test_a_revoked_token_ends_its_session_within_the_interval() -> None:
    async def main(keeper: Doorkeeper, standing: Standing, alarms: list[tuple[str, str]]) -> None:
        start = trio.current_time()

        async def revoke() -> None:
            await trio.sleep(62)
            keeper.say = revoked

        async with trio.open_nursery() as nursery:
            nursery.start_soon(revoke)
            why = await standing.watch()
        assert (why.reason, alarms) == ("token revoked", [])
        assert trio.current_time() - start <= 62 + 5

    on_a_jumping_clock(main)


def test_whom_an_operator_struck_hears_the_operators_words_whoever_is_first() -> None:
    strike = Strike("subject", "agent-1", "dana", "lost", Micros(0))

    async def main(keeper: Doorkeeper, standing: Standing, alarms: list[tuple[str, str]]) -> None:
        def struck() -> None:
            raise strike.refusal

        keeper.say = struck
        why = await standing.watch()
        assert (why.words, why.reason) == ("hoop: the session was cut: revoked by dana: lost", "revoked")
        assert (why.detail, alarms) == ("the subject was revoked by dana", [])

    on_a_jumping_clock(main)


def test_while_the_issuer_is_away_a_session_goes_on_for_the_grace_with_one_alarm() -> None:
    async def main(keeper: Doorkeeper, standing: Standing, alarms: list[tuple[str, str]]) -> None:
        start = trio.current_time()
        keeper.say = away
        why = await standing.watch()
        assert why.reason == "issuer away"
        assert trio.current_time() - start == pytest.approx(300)
        assert [name for name, _ in alarms] == ["issuer-away"]

    on_a_jumping_clock(main)


def test_an_issuer_that_comes_back_gives_the_whole_grace_again() -> None:
    async def main(keeper: Doorkeeper, standing: Standing, alarms: list[tuple[str, str]]) -> None:
        start = trio.current_time()
        keeper.say = away

        async def recover() -> None:
            await trio.sleep(290)
            keeper.say = lambda: None
            await trio.sleep(10)
            keeper.say = away

        async with trio.open_nursery() as nursery:
            nursery.start_soon(recover)
            await standing.watch()
        assert trio.current_time() - start >= 590
        assert len(alarms) == 2, "each time it goes"

    on_a_jumping_clock(main)


def test_a_refusal_of_the_old_token_does_not_end_a_session_that_was_renewed_meanwhile() -> None:
    async def main(keeper: Doorkeeper, standing: Standing, alarms: list[tuple[str, str]]) -> None:
        def renewed_while_asking() -> None:
            standing.credential = Credential(who(jti="2"), "u")
            keeper.say = lambda: None
            revoked()

        keeper.say = renewed_while_asking
        with trio.move_on_after(60) as scope:
            await standing.watch()
        assert scope.cancelled_caught

    on_a_jumping_clock(main)


@pytest.mark.parametrize(
    ("say", "words"),
    [(lambda: None, None), (revoked, "the token was revoked"), (away, "the identity issuer could not be asked")],
)
def test_an_approved_operation_needs_a_fresh_word(say: Callable[[], None], words: str | None) -> None:
    async def main(keeper: Doorkeeper, standing: Standing, _: list[tuple[str, str]]) -> None:
        keeper.say = say
        why = await standing.why_not()
        assert why is None if words is None else (why or "").startswith(words)

    on_a_jumping_clock(main)
