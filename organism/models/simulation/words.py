"""Words, terms and sentences of a text: what is said, without what only holds it together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_STOP: Final = word_set(
    """a about above after again against all also am an and any are as at be because been before being below between both
    but by can cannot could did do does doing done down during each either else ever every few find for from further get
    give given gives go goes had has have having he her here hers him his how however i if in into is it its itself just
    know let like made make many may me might more most much must my near need neither no nor not now of off on once one
    only or other ought our out over own per please same say says shall she should since so some such tell than that the
    their them then there these they thing things this those through thus to too under until up upon us use used using very
    via want was we were what whatever when where whether which while who whom whose why will with within without would yes
    yet you your answer question explain describe show list mean means"""
)
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_DENSE: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
_HUMP: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_FENCE: Final = re.compile(r"^[ \t]*(?:```|~~~)")
_BULLET: Final = re.compile(r"^\s*(?:[-*+\u2022]|\d{1,3}[.)]|#{1,6}|>)\s+")
_END: Final = re.compile(
    r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bcf\.)(?<!\betc\.)(?<!\bvs\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)"
    r"(?<!\b[A-Z]\.)[\"')\]\u201d\u2019*_]{0,3}\s+(?=[\"'(\[\u201c\u2018*_`]{0,3}[^\W_a-z])"
    "|(?<=[\u3002\uff01\uff1f])"
)
STOPS: Final = (".", "!", "?", '."', ".)", "\u3002", "\u2026")
_RULED: Final = re.compile(r"^[\s|:=+*_#~.\-]+$")


_ENDINGS: Final = {"ies": "y", "sses": "ss", "ing": "", "ied": "y", "ed": "", "es": "e", "s": ""}


def stem(word: str) -> str:
    """A word without its commonest English endings, lower case: enough for plural and tense to meet."""
    low = word.casefold().partition("'")[0].partition("\u2019")[0]
    if len(low) <= 3 or not low.isascii():
        return low
    for ending, instead in _ENDINGS.items():
        if low.endswith(ending) and len(low) - len(ending) >= 3 and not (ending == "s" and low[-2] in "su"):
            low = low[: -len(ending)] + instead
            break
    if len(low) > 4 and low[-1] == low[-2] and low[-1] not in "sle":
        low = low[:-1]
    return low[:-1] if len(low) > 3 and low[-1] == "e" else low


_STOP_STEMS: Final = frozenset(stem(word) for word in _STOP if len(word) > 3)


def is_stop(word: str) -> bool:
    """Whether a word says nothing by itself."""
    low = word.casefold()
    return low in _STOP or stem(low) in _STOP_STEMS or (len(low) == 1 and low.isascii() and not low.isdigit())


def words(text: str) -> Iterator[str]:
    """The words of a text as written; scripts without blanks give pairs of signs."""
    for match in _WORD.finditer(text):
        word = match.group()
        if word.isascii() or not _DENSE.search(word):
            yield word
        else:
            yield from (word[i : i + 2] for i in range(max(1, len(word) - 1)))


def terms(text: str) -> list[str]:
    """The stems of all words of a text that say something, in order, with repetitions."""
    return [stem(word) for word in words(text) if not is_stop(word)]


def key_words(text: str, most: int) -> list[str]:
    """At most ``most`` words of a text worth searching for, as written and in order; the weightiest are kept."""
    seen: dict[str, tuple[float, int, str]] = {}
    for place, word in enumerate(words(text)):
        if is_stop(word) or (key := stem(word)) in seen:
            continue
        proper = 3.0 if place and word[0].isupper() else 0.0
        seen[key] = (proper + min(len(word), 12) / 2, place, word)
    best = sorted(seen.values(), key=lambda entry: (-entry[0], entry[1]))[:most]
    return [word for _, _, word in sorted(best, key=lambda entry: entry[1])]


def name_words(name: str) -> list[str]:
    """The words of an identifier, lower case: ``filePath`` and ``file_path`` are ``["file", "path"]``."""
    return [part.casefold() for part in _HUMP.findall(name)]


def normal(name: str) -> str:
    """A name without case and separators, to compare names by: ``file_path``, ``filePath`` and ``file-path`` are one."""
    return "".join(name_words(name))


def singular(word: str) -> str:
    """A noun in the singular, roughly."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "su" else word


def one_line(text: str) -> str:
    """A text with every run of blanks as one."""
    return " ".join(text.split())


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, list entries, headings and table rows of a text; fenced code and ruled lines are left out."""
    block: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= (fence := _FENCE.match(line)) is not None
        if fence or fenced:
            continue
        ruled = not line.strip() or _RULED.match(line)
        head = None if ruled else _BULLET.match(line)
        row = line.lstrip().startswith("|")
        if not (ruled or head or row):
            block.append(line.strip())
            continue
        yield " ".join(block)
        block = [line[head.end() :].strip()] if head else [line.strip(" \t|")] if row and not ruled else []
        if row or (head and "#" in head.group()):  # it goes on in no further line
            yield " ".join(block)
            block = []
    yield " ".join(block)


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, each on one line. Marks of lists and headings before a sentence are dropped."""
    found: list[str] = []
    for block in _blocks(text):
        start = 0
        for end in _END.finditer(block):
            found.append(one_line(block[start : end.end()]))
            start = end.end()
        found.append(one_line(block[start:]))
    return [sentence for sentence in found if sentence]


def joined(quotes: Iterable[str]) -> str:
    """Quotes as one text. What is no whole sentence stands by itself, so that whoever reads the text can part them again."""
    text = ""
    for quote in quotes:
        flows = text.endswith(STOPS) and not quote[:1].islower()
        text += (" " if flows else "\n\n") * bool(text) + quote
    return text


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` characters, cut between words where there are any, with an ellipsis if it fits."""
    if len(text) <= most:
        return text
    if most < 8:
        return text[: max(0, most)]
    cut = text[: most - 1]
    blank = cut.rfind(" ")
    return (cut[:blank] if blank > most // 2 else cut).rstrip(" ,;:-") + "\u2026"
