"""A payload for plain text, for organisms that declare none of their own."""

from typing import Annotated

from organism.payloads.declaration import payload


@payload
class Text:
    """Something in plain words."""

    text: Annotated[str, "What is said."]


Text.__module__ = "organism"  # where users import it from: so messages name it
