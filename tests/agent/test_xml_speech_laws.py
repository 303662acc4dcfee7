"""Laws of reading messages from free text: what is valid is read as it was meant, and nothing breaks the reading."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from organism import InvalidPayloadError, payload
from organism.agent.xml_reading import NotRepairedError, found_in, repaired
from organism.payloads import Vocabulary, encode_xml


@payload
class Leaf:
    text: str


@payload
class Tree:
    text: str
    leaves: list[Leaf]
    names: dict[str, str | None]
    either: "Leaf | Tree | None" = None


WORDS = Vocabulary([Tree])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["a < b", "&amp;", "</Tree>", "<Tree>", "]]>", "<![CDATA[", "<!-- x -->", "`code`", "\n```\n", "_x0000_", "&nbsp;"]
)
LEAVES = st.builds(Leaf, TEXTS)
TREES = st.recursive(
    st.builds(Tree, TEXTS, st.lists(LEAVES, max_size=2), st.dictionaries(TEXTS, st.none() | TEXTS, max_size=2)),
    lambda inner: st.builds(Tree, TEXTS, st.just([]), st.just({}), inner | LEAVES),
    max_leaves=4,
)
AROUND = st.sampled_from(["", "So: ", "\n```xml\n", "\n```\n", "I say <b>this</b>: ", "1 < 2 & ", "<wrapped>", "`x` "])
SCRAPS = st.lists(
    st.sampled_from([
        "<Tree>", "</Tree>", "<text>", "</text>", "<Tree to='a'>", "<p:Tree xmlns:p='x'>", "<leaves/>", "<item>", "<", "</", "&", "&#1;",
        "&nbsp;", "<![CDATA[", "]]>", "<!--", "-->", "```\n", "`", "\n", "x", '"', "<Tree a=", "<think>", "</think>", "\x00", "\ud800",
    ]),
    max_size=30,
).map("".join)  # fmt: skip


def is_tree(name: str) -> bool:
    return name == "Tree"


@given(trees=st.lists(TREES, min_size=1, max_size=3), around=AROUND)
@example(trees=[Tree("`", [], {}), Tree("`", [], {})], around="")
@example(trees=[Tree("a `", [], {}), Tree("b", [], {})], around=" `code` ")
@example(trees=[Tree("a `", [], {})], around="<think>b `</think>")
def test_what_is_valid_is_read_as_it_was_meant_wherever_it_stands(trees: list[Tree], around: str) -> None:
    text = around.join(["", *(encode_xml(tree).decode() for tree in trees), ""])
    read = [WORDS.decode_xml(repaired(found)) for found in found_in(text, is_tree)]
    assert read == trees


@given(tree=TREES, cut=st.integers(1, 60))
def test_what_lacks_its_last_end_tags_is_read_as_it_was_or_not_at_all(tree: Tree, cut: int) -> None:
    whole = encode_xml(tree).decode()
    tags = whole.rstrip("abcdefghijklmnopqrstuvwxyzT>/<")  # some of the end tags, perhaps all of them
    text = whole[: max(len(tags), len(whole) - cut)]
    if not text.endswith(">"):
        return
    for found in found_in(text, is_tree):
        try:
            read = WORDS.decode_xml(repaired(found))
        except (NotRepairedError, InvalidPayloadError):
            continue
        assert isinstance(read, Tree)
        assert read.text == tree.text


@given(text=SCRAPS)
def test_nothing_that_is_written_breaks_the_reading(text: str) -> None:
    end = 0
    for found in found_in(text, is_tree):
        # Each stands in the text, behind the one before it.
        end = text.index(found.text, end) + len(found.text)
        try:
            document = repaired(found)
        except NotRepairedError:
            continue
        try:
            WORDS.decode_xml(document)
        except InvalidPayloadError:
            continue


@given(text=SCRAPS)
def test_a_repaired_message_needs_no_repair(text: str) -> None:
    for found in found_in(text, is_tree):
        try:
            document = repaired(found)
        except NotRepairedError:
            continue
        (again,) = found_in(document, is_tree)
        assert repaired(again) == document
