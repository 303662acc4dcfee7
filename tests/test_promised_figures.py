"""The figures that the documents promise are those of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from attrs import fields

from organism.agent import xml_speech
from organism.config import tree, yamltext
from organism.journal import texts
from organism.kernel import back_pressure, sums
from organism.models.transport import body
from organism.payloads import Limits, lexical
from organism.record import metering
from organism.settings import Settings
from organism.threads import scheduling
from organism.works import audience, histories
from organism.works.control import lines, orders

PAGES: Final = Path(__file__).parent.parent / "docs/explanation"
XML: Final = Limits()
SAID: Final = {
    "security.md": [
        f"| a message in XML | {XML.size >> 20} MiB, {XML.depth} elements deep, {XML.text >> 20} MiB a text |",
        f"| a message in JSON | {XML.size >> 20} MiB for `--send`, whole numbers of {lexical.MAX_INT_DIGITS:,} digits,",
        f"| organism.yaml | {yamltext.MAX_BYTES >> 20} MiB, {tree.MAX_DEPTH} levels, {tree.MAX_NODES:,} values after aliases",
        f"| what a model writes as XML | {XML.depth} elements deep; the first {xml_speech._MISTAKES} mistakes of an answer",
        f"| the answer of a model's server | {body.MOST >> 20} MiB uncompressed; for a stream {body.MOST_A_TOKEN >> 10} KiB more for",
        f"for each token it may have; for a refusal {body.MOST_OF_A_REFUSAL >> 20} MiB |",
        f"| an entry of a journal | {texts.LONGEST >> 20} MiB, also when read |",
        f"| a request on the control socket | {orders.LONGEST >> 20} MiB, {lines.PATIENCE:g} s |",
    ],
    "floods.md": [
        f"`thread_queue` ({fields(Settings).thread_queue.default:,}) counts",
        f"At most {back_pressure.MOST_NESTED} budgets may be nested",
        f"After {scheduling.IN_A_ROW} messages the thread that has waited longest",
        f"Behind the first {sums.MOST:,} labels",
        f"A subscriber that takes {audience.SLOW:g} s or longer",
        f"`organism.events()` keeps {histories._MOST:,} facts",
        f"`organism.meter()` has a worker thread of its own and keeps {metering.ROOM:,} events",
    ],
}


@pytest.mark.parametrize("page", SAID)
def test_the_documents_promise_what_the_code_keeps(page: str) -> None:
    text = " ".join((PAGES / page).read_text("utf-8").split())
    assert [said for said in SAID[page] if said not in text] == []
