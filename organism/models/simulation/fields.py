"""What a field is for, guessed from its name and description: the model knows no payload, but it knows English."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from organism.models.simulation.words import name_words, normal, singular, word_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.simulation.documents import Scalar

Role = Literal["query", "terms", "reference", "text", "title", "count", "confidence", "unknown"]

_ROLES: Final[Mapping[Role, frozenset[str]]] = {
    "reference": word_set("""path file filename filepath id identifier ident key url uri link href ref reference source citation document doc
        page slug location origin handle isbn doi"""),
    "terms": word_set("term keyword word tag phrase keyphrase"),
    "query": word_set(
        "question query q search ask topic subject about prompt request task goal problem instruction inquiry"
    ),
    "confidence": word_set("confidence certainty probability likelihood score relevance share ratio"),
    "title": word_set("title heading headline caption label"),
    "text": word_set("""text answer content body summary passage excerpt note message draft explanation description comment report
        finding quote quotation reply response detail reason reasoning statement result output essay paragraph sentence
        recap abstract snippet chunk point insight evidence rationale analysis conclusion story article"""),
    "count": word_set("count number limit max maximum top n k size total amount most least min"),
}
_ORDER: Final[tuple[Role, ...]] = ("terms", "query", "reference", "text", "title", "confidence", "count")
_NEGATIVE: Final = word_set("""missing failed failure error empty unknown uncertain unsure refused denied incomplete insufficient unanswered
    unanswerable irrelevant""")
_BRIEF: Final = word_set("summary headline recap abstract snippet quote quotation reason statement sentence point")
_NOUN: Final = re.compile(r"[a-z]+")
_PREFERRED: Final = ("path", "filepath", "file", "url", "uri", "source", "reference", "ref", "document", "doc", "id")
_REFERENCE: Final = re.compile(
    r"https?://[^\s<>\"'|)\]}]{2,500}"
    r"|(?<![\w/.@-])(?:[\w.-]{1,80}/){1,12}[\w-][\w.-]{0,80}\.[A-Za-z][A-Za-z0-9]{0,4}(?![\w/@])"
    r"|(?<![\w/.@-])[\w-][\w.-]{0,80}\.(?:md|txt|rst|html?|pdf|py|json|xml|csv|ya?ml|toml|docx?|tex|log|js|ts|go|rs|c|h)"
    r"(?![\w/@])"
    r"|(?<![\w/.@-])(?:[\w-]{1,80}/){2,12}[\w-]{1,80}"
)


@frozen
class Field:
    """One place of a schema that wants a value. ``name`` is the key (of an array's entry: the array's), ``hint`` its
    description, ``role`` what it seems to be for, ``required`` whether it must be there.
    """

    name: str
    hint: str = ""
    role: Role = "unknown"
    required: bool = True

    @classmethod
    def of(cls, name: str, hint: str = "", *, required: bool = True) -> Field:
        """The field of a key and its description."""
        return cls(name, hint, role_of(name, hint), required)

    @property
    def key(self) -> str:
        """The name to compare by."""
        return normal(self.name)

    @property
    def negative(self) -> bool:
        """Whether truth means that something went wrong."""
        return is_negative(self.name)

    @property
    def brief(self) -> bool:
        """Whether a sentence is enough."""
        found = [singular(word) for word in name_words(self.name)]
        return bool(found) and found[-1] in _BRIEF


def _role_of_words(found: list[str]) -> Role:
    """The role of the last word that has one: a ``source_text`` is a text, a ``text_path`` a path."""
    for word in reversed(found):
        for role in _ORDER:
            if word in _ROLES[role] or singular(word) in _ROLES[role]:
                return role
    return "unknown"


def role_of(name: str, hint: str = "") -> Role:
    """The role of a field by its name, else by the first telling word of its description."""
    role = _role_of_words(name_words(name))
    if role == "query" and any(word in _ROLES["terms"] for word in map(singular, name_words(hint))):
        return "terms"
    if role != "unknown":
        return role
    for word in _NOUN.findall(hint.casefold()):
        found = _role_of_words([word])
        if found not in {"unknown", "count"}:
            return found
    return "unknown"


def is_negative(*texts: str) -> bool:
    """Whether names or descriptions speak of a failure or of nothing found."""
    return any(word in _NEGATIVE for text in texts for word in name_words(text))


def reference_of(fields: Mapping[str, Scalar]) -> str:
    """What a record is called: its path, URL or id, whichever of its fields says it best; empty for none."""
    for key in _PREFERRED:
        value = fields.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    for key, value in fields.items():
        if isinstance(value, str) and value.strip() and len(value) <= 300 and role_of(key) == "reference":
            return value
    return ""


def references_in(text: str, most: int) -> list[str]:
    """Paths and URLs that stand in a text, each once, in order, at most ``most``."""
    found: dict[str, None] = {}
    for match in _REFERENCE.finditer(text):
        found[match.group().rstrip(".,;:")] = None
        if len(found) >= most:
            break
    return list(found)
