"""What is wrong with an input, told by parameter."""

from __future__ import annotations


class InputError(ValueError):
    """What the caller gave cannot become a clip, however often it is tried. `code` is one of the error table's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
