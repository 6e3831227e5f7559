"""What a language model thinks before it answers, where its server does not keep that apart."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


class Thoughts:
    """Fed with a reply as it comes, gives what is to be said: all but what it begins with between the two tags."""

    def __init__(self) -> None:
        self._held = ""  # what may still be the beginning of a thought, or is in one
        self._over = False

    def feed(self, piece: str) -> str:
        if self._over:
            return piece
        self._held += piece
        begun = self._held.lstrip()
        if len(begun) < len(BEGIN) and BEGIN.startswith(begun):
            return ""
        if not begun.startswith(BEGIN):
            return self.finish()
        _, ended, said = begun.partition(END)
        if said := said.lstrip():
            self._over = True
        else:  # a long thought is not kept
            self._held = BEGIN + (END if ended else begun[len(BEGIN) :][-len(END) :])
        return said

    def finish(self) -> str:
        """What was held and is no thought."""
        held, self._held, self._over = self._held, "", True
        return "" if held.lstrip().startswith(BEGIN) else held
