"""Frozen values that every stage shares.

This package promises plain, immutable values and names from the glossary (docs/architecture.md), a module for each
subject; they are imported from here. It performs no I/O, reads no clock and imports nothing else of ours, so that every
stage, the console included, may depend on it.
"""

from __future__ import annotations

from gateway.model.agents import Principal, SessionInfo
from gateway.model.approvals import BrokenGlass, Decision, DecisionKind, Exact, HoldRequest, HoldState, Impact, Quote
from gateway.model.connections import (
    Connection,
    ConnectionRule,
    ConnectionTest,
    Mark,
    MaskStyle,
    RelationPattern,
    TargetAddress,
)
from gateway.model.drafts import Alike, Draft, Sealed
from gateway.model.effects import RelationEffect, Sample, SampledRow, ShownEffect
from gateway.model.names import ApprovalId, Json, LogName, Micros, OperationHash, SessionId
from gateway.model.sources import Clock, Entropy
from gateway.model.statements import (
    Closed,
    Deallocated,
    Declared,
    NameEffect,
    Outcome,
    Parameter,
    Prepared,
    Statement,
    WireProtocol,
)
from gateway.model.times import WEEKDAYS, Hours, format_time
from gateway.model.verdicts import Ask, Verdict, VerdictKind

__all__ = [
    "WEEKDAYS",
    "Alike",
    "ApprovalId",
    "Ask",
    "BrokenGlass",
    "Clock",
    "Closed",
    "Connection",
    "ConnectionRule",
    "ConnectionTest",
    "Deallocated",
    "Decision",
    "DecisionKind",
    "Declared",
    "Draft",
    "Entropy",
    "Exact",
    "HoldRequest",
    "HoldState",
    "Hours",
    "Impact",
    "Json",
    "LogName",
    "Mark",
    "MaskStyle",
    "Micros",
    "NameEffect",
    "OperationHash",
    "Outcome",
    "Parameter",
    "Prepared",
    "Principal",
    "Quote",
    "RelationEffect",
    "RelationPattern",
    "Sample",
    "SampledRow",
    "Sealed",
    "SessionId",
    "SessionInfo",
    "ShownEffect",
    "Statement",
    "TargetAddress",
    "Verdict",
    "VerdictKind",
    "WireProtocol",
    "format_time",
]
