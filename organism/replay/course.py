"""In what order the tasks of a handler went on, wherever several could: the record does not say it."""

from __future__ import annotations

from attrs import define, field


@define(eq=False)
class Course:
    """One of the ways in which a delivery may have gone. ``ahead`` are its first choices, by number; further ones are 0.

    ``taken`` has each choice that there was, and of how many.
    """

    ahead: tuple[int, ...] = ()
    taken: list[tuple[int, int]] = field(factory=list[tuple[int, int]])

    def pick(self, many: int) -> int:
        """The number of what is done, of this many ways."""
        if many == 1:
            return 0
        place = len(self.taken)
        picked = min(self.ahead[place], many - 1) if place < len(self.ahead) else 0
        self.taken.append((picked, many))
        return picked

    def following(self) -> Course | None:
        """The next of the ways, of which the last choice is the first to be another one; ``None``: there is none left."""
        taken = list(self.taken)
        while taken:
            picked, many = taken.pop()
            if picked + 1 < many:
                return Course((*(number for number, _ in taken), picked + 1))
        return None
