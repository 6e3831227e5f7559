"""The `echod` command, and `python -m echod`."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from echod import cli

        cli.main()
    except KeyboardInterrupt:  # while that was imported; later ones are handled there
        sys.exit(130)


if __name__ == "__main__":
    main()
