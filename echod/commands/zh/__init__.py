"""Chinese for what the command line says in English; tests/commands/test_chinese.py keeps it complete.

A value's place is {}, for one word; {:s} takes any text, {:t} one that is translated as well, and {0} {1} change order.
"""

from __future__ import annotations

from echod.commands.zh.click import CLICK
from echod.commands.zh.errors import ERRORS
from echod.commands.zh.help import HELP
from echod.commands.zh.printed import PRINTED

WORDS = CLICK | HELP | PRINTED | ERRORS
