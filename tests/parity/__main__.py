"""`python -m tests.parity DIRECTORY [--dtype float16|bfloat16]`: every stage against a directory of recorded tensors.

One line per stage with its error: relative L2, or how many differ, or the largest distance of pixel values. Exits with
1 when one is over its limit. What the directory has no recording of is said to be absent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from .golden import Golden
from .stages import Comparison, Row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    given = parser.parse_args(arguments)
    dtype = getattr(torch, given.dtype)
    golden = Golden(given.directory)
    rows = []
    for row in Comparison(golden, golden.models(dtype), dtype).rows():
        print(line(row), flush=True)
        rows.append(row)
    over = [row.stage for row in rows if not row.passed]
    absent = sum(row.error is None for row in rows)
    print(f"{len(rows) - absent} compared, {absent} absent, {len(over)} over their limit")
    return 1 if over else 0


def line(row: Row) -> str:
    if row.error is None:
        return f"{row.stage:<52}   absent"
    return f"{row.stage:<52} {row.error:9.2e}  limit {row.limit:7.0e}  {'ok' if row.passed else 'OVER'}"


if __name__ == "__main__":
    sys.exit(main())
