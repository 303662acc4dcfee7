"""The payloads that the organism itself speaks; see :mod:`organism.payloads.primitives`."""

from organism.payloads.primitives import (
    NAMESPACE,
    ORGANISM_ONLY,
    BudgetDecision,
    BudgetEstimate,
    BudgetExhausted,
    BudgetGranted,
    BudgetQuery,
    BudgetRefused,
    BudgetReport,
    BudgetRequest,
    BudgetWarning,
    DeadLetter,
    FailureCode,
    HandlerFailed,
    InvalidPayload,
)

__all__ = [
    "NAMESPACE",
    "ORGANISM_ONLY",
    "BudgetDecision",
    "BudgetEstimate",
    "BudgetExhausted",
    "BudgetGranted",
    "BudgetQuery",
    "BudgetRefused",
    "BudgetReport",
    "BudgetRequest",
    "BudgetWarning",
    "DeadLetter",
    "FailureCode",
    "HandlerFailed",
    "InvalidPayload",
]
