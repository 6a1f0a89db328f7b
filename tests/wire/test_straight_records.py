"""A note that is recorded on the straight way has the record that the long way would give it."""

from __future__ import annotations

from driving import CountingEntropy, allow
from evidence.evidence_samples import session as sample_session
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.model import Outcome, Parameter, Statement, WireProtocol
from gateway.pgwire.notes import Alarm, Answer, CopyChunk, Execution, MaskedColumn, Note, Preparation, Request
from gateway.policy.literals import ALL, NONE, Literals
from gateway.worker.records import drafts, simple
from gateway.worker.sealing import SealingTerms, SessionSealing
from gateway.worker.withholding import ToldNote, Withholding

texts = st.sampled_from([b"select 1", b"select 'secret1'", b"explain select 'secret1'", b"\0\xff"])
literals = st.sampled_from([NONE, NONE, ALL, Literals(None), Literals((), frozenset()), Literals((), None, data=True)])
bound = st.lists(st.builds(Parameter, st.just(25), st.just(0), st.sampled_from([None, b"secret2"])), max_size=2)
statements = st.builds(Statement, texts, st.sampled_from(WireProtocol), bound.map(tuple))
judgements = st.builds(lambda found, marks: allow(literals=found, touches_marks=marks), literals, st.booleans())
numbers = st.integers(1, 5)
masked = st.sampled_from([(), (), (MaskedColumn(9, "email", ("public.users.email",), "redact", 2),)])
notes: st.SearchStrategy[Note] = st.one_of(
    st.builds(Preparation, numbers, statements, judgements),
    st.builds(Request, numbers, statements, judgements),
    st.builds(Execution, numbers, numbers, st.just(0)),
    st.builds(
        Answer, numbers, numbers, st.sampled_from(Outcome), st.just("42P01"), st.sampled_from([None, "no secret1"]),
        st.just(1), st.just(2), st.just(3), masked, st.sampled_from(["secret2\n", "Filter: (a = 1)\n", ""]),
        st.booleans(), st.just("0f" * 32), st.just(b"s" * 32), st.booleans(),
    ),
    st.builds(CopyChunk, numbers, numbers, st.just(b"1\n"), st.booleans(), st.booleans()),
    st.builds(Alarm, numbers, st.just("analysis"), st.just("why")),
)  # fmt: skip


@given(st.lists(notes, max_size=8), st.booleans())
def test_the_straight_way_and_the_long_one(found: list[Note], seals: bool) -> None:
    withholding, session = Withholding(seals=seals), sample_session()
    sealing = SessionSealing(SealingTerms(), CountingEntropy())
    spared = 0
    for note in found:
        draft = simple(session, note) if withholding.spares(note) else None
        told = withholding.note(note)
        if draft is not None:
            spared += 1
            assert told == ToldNote(note)
            assert [draft] == list(drafts(session, told, CountingEntropy(), 100, sealing))
    event(f"spared: {min(spared, 3)} of {min(len(found), 3)}")
