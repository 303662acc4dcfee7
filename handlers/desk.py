"""The payloads that the handlers and agents of the reading desk exchange."""

from typing import Annotated

from organism import payload


@payload
class Question:
    """A question to be answered from the texts of a folder."""

    text: Annotated[str, "The question, in plain words."]
    folder: Annotated[str, "Where to look, below the librarian's root; . is all of it."] = "explanation"


@payload
class Search:
    """Asks for the files that fit some words best."""

    query: Annotated[str, "What to look for."]
    folder: Annotated[str, "Where to look; . is everywhere."] = "."
    limit: Annotated[int, "How many files at most."] = 6


@payload
class Match:
    """A file, and the sentence of it that fits best."""

    path: str
    excerpt: str


@payload
class Found:
    """The files that fit, best first; none where nothing does."""

    files: list[Match]


@payload
class Browse:
    """Asks what sections a file has."""

    path: str
    query: Annotated[str, "What the sections are wanted for: each is shown by the sentence that fits it best."]


@payload
class Entry:
    """A section, and the sentence of it that fits best."""

    section: str
    excerpt: str


@payload
class Contents:
    """The sections of a file, in order."""

    sections: list[Entry]


@payload
class Open:
    """Asks for the whole text of a section."""

    path: str
    section: Annotated[str, "The reference of the section, as the contents have it."]


@payload
class Section:
    """A section as it stands in its file."""

    path: str
    section: str
    text: str


@payload
class Reading:
    """Asks a reader for notes on a file."""

    question: Annotated[str, "What the notes are for."]
    path: str


@payload
class Notes:
    """What a file says about a question, in its own words."""

    path: Annotated[str, "The file that was read."]
    text: Annotated[str, "The sentences that matter, copied or closely told."]


@payload
class Draft:
    """Notes to be made into an answer."""

    question: str
    notes: list[Notes]


@payload
class Answer:
    """An answer and the files that it rests on."""

    text: Annotated[str, "The answer, in a few sentences."]
    sources: Annotated[list[str], "The paths of the files that it was taken from."]
