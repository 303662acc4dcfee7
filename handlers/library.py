"""The library of the reading desk: a librarian that finds files in a folder of texts, and a shelf on which they are opened.

Both take their folder from ``options: {root: ...}``, relative to the folder of organism.yaml, and never leave it.
"""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from handlers.desk import Browse, Contents, Entry, Found, Match, Open, Search, Section
from organism import Context, Refused, Reply

HOME = Path(__file__).resolve().parent.parent
KINDS = {".md", ".rst", ".txt"}
MOST_FILES = 500
MOST_BYTES = 1_000_000
PORTION = 2500
"""Characters of a text that are handed out at once; a longer section is cut into several."""
EXCERPT = 240
"""Characters of an excerpt at most."""

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[a-z0-9]+")
_COMMON = frozenset(
    _WORD.findall(
        "a about after all an and are as at be been but by can do does for from had has have how i if in into is it its my no "
        "not of on or our should so than that the their them then there they this to was we were what when where which who "
        "why will with would you your"
    )
)


async def search(wanted: Search, ctx: Context) -> Reply[Found]:
    """Finds the files in a folder that fit a question best."""
    root = _root(ctx)
    folder = _inside(root, wanted.folder)
    if not folder.is_dir():
        raise Refused(f"there is no folder '{wanted.folder}'; there are: {', '.join(_folders(root))}")
    sections = [section for file in _files(folder, root) for section in _sections(file, root)]
    best = {section.path: section for section in reversed(ranked(wanted.query, sections))}
    files = [Match(path, excerpt(wanted.query, section.text)) for path, section in reversed(best.items())]
    return Reply(Found(files[: max(1, wanted.limit)]))


async def browse(wanted: Browse | Open, ctx: Context) -> Reply[Contents] | Reply[Section]:
    """Lists the sections of a file, and gives the whole text of one."""
    root = _root(ctx)
    file = _inside(root, wanted.path)
    if not file.is_file() or file.suffix not in KINDS:
        raise Refused(f"there is no text '{wanted.path}'; search for one first")
    sections = list(_sections(file, root))
    if isinstance(wanted, Browse):
        return Reply(Contents([Entry(each.section, excerpt(wanted.query, each.text)) for each in sections]))
    for section in sections:
        if section.section == wanted.section:
            return Reply(section)
    raise Refused(
        f"'{wanted.path}' has no section '{wanted.section}'; it has: {', '.join(s.section for s in sections)}"
    )


def ranked(query: str, sections: list[Section]) -> list[Section]:
    """The sections that share words with a query, best first: many of them, rare ones, and those of headings count more."""
    words = [(section, Counter(terms(f"{section.section} {section.section} {section.text}"))) for section in sections]
    carriers = Counter(word for _, own in words for word in own)
    average = sum(own.total() for _, own in words) / len(words) if words else 1.0
    scored: list[tuple[float, Section]] = []
    for section, own in words:
        length = 0.5 + 0.5 * own.total() / average
        shared = set(terms(query)) & own.keys()
        score = sum(
            math.log(1 + len(words) / carriers[word]) * own[word] * 2.2 / (own[word] + 1.2 * length) for word in shared
        )
        if score:
            scored.append((score * len(shared), section))
    return [section for _, section in sorted(scored, key=lambda pair: -pair[0])]


def excerpt(query: str, text: str) -> str:
    """The sentence of a text that shares most words with a query, cut where it is long; the first of several."""
    asked = set(terms(query))
    best = max(_SENTENCE.split(text), key=lambda sentence: len(asked & set(terms(sentence))))
    return best if len(best) <= EXCERPT else best[:EXCERPT].rsplit(" ", 1)[0] + "…"


def terms(text: str) -> list[str]:
    """The words of a text without common ones, each cut to its stem."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ions", "ion", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word.removesuffix("s") if len(word) > 3 else word


def _root(ctx: Context) -> Path:
    return (HOME / str(ctx.options.get("root", "docs"))).resolve()


def _inside(root: Path, name: str) -> Path:
    """A path below the root, with links followed. Raises Refused for one that leads out of it."""
    found = (root / name).resolve()
    if not found.is_relative_to(root):
        raise Refused(f"'{name}' is outside of the library")
    return found


def _folders(root: Path) -> list[str]:
    return [".", *sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir())]


def _files(folder: Path, root: Path) -> list[Path]:
    """The texts of a folder and those below it; links that lead out of the root and very large files are left out."""
    found = (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in KINDS and path.is_file() and path.resolve().is_relative_to(root)
    )
    return list(islice((path for path in found if path.stat().st_size <= MOST_BYTES), MOST_FILES))


def _sections(file: Path, root: Path) -> Iterator[Section]:
    """The sections of a file, cut at its headings, without code. The text before the first heading is named after the file."""
    path = file.relative_to(root).as_posix()
    text = _FENCE.sub("", file.read_text("utf-8", errors="replace"))
    parts = _HEADING.split(text)
    # split() gives the text before the first heading, then a heading and its text in turns.
    for heading, body in zip([file.stem, *parts[1::2]], parts[::2], strict=True):
        for number, prose in enumerate(_portions(body), start=1):
            yield Section(path, heading if number == 1 else f"{heading} ({number})", prose)


def _portions(body: str) -> Iterator[str]:
    """The paragraphs of a section, joined up to the size of a portion, which a reader's budget can pay for."""
    kept = ""
    for paragraph in (" ".join(part.split()) for part in body.split("\n\n") if part.strip()):
        for part in textwrap.wrap(paragraph, PORTION) if len(paragraph) > PORTION else [paragraph]:
            if kept and len(kept) + len(part) > PORTION:
                yield kept
                kept = ""
            kept = f"{kept}\n\n{part}" if kept else part
    if kept:
        yield kept
