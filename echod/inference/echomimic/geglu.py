"""GEGLU as one kernel for a card: the product of which half gates the other is never in memory.

A product of few terms for many tokens is as much memory as arithmetic: at 512x512 that product, written and read, is
7.5 of a window call's 51.5 GB. Needs Triton; what it runs on are fp16 and bf16 of compute capability 8.0 and more.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

# What one program makes, and how many terms it takes at a time: two sums of 128x64 in the registers of 8 warps, 96 KiB
# of shared memory, which every card from 8.0 on has.
ROWS, COLUMNS, TERMS = 128, 64, 64
NEIGHBOURS = 8  # rows of programs that run beside each other, so that they find each other's weights in the cache
MOST = 640  # terms; with more, arithmetic decides, and the vendor's products are better at it


def suits(weight: Tensor) -> bool:
    """Whether it is worth it for that weight (2 D, C), and divides evenly."""
    wide, terms = len(weight) // 2, weight.shape[1]
    return terms <= MOST and terms % TERMS == 0 and wide % COLUMNS == 0


@triton.jit  # type: ignore[untyped-decorator]
def gated(  # type: ignore[no-untyped-def]
    x, weight, bias, out, m, n: tl.constexpr, k: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, terms: tl.constexpr, neighbours: tl.constexpr,
):  # fmt: skip
    """x (m, k) and weight (2 n, k) to out (m, n)."""
    program, across = tl.program_id(0), n // columns
    first = program // (neighbours * across) * neighbours
    height = min((m + rows - 1) // rows - first, neighbours)
    row = (first + program % (neighbours * across) % height) * rows + tl.arange(0, rows)
    column = program % (neighbours * across) // height * columns + tl.arange(0, columns)
    term = tl.arange(0, terms)
    there = row[:, None] < m
    row = row[:, None].to(tl.int64)  # tokens of many windows may have more than 2**31 numbers
    tokens, weights = x + row * k + term[None, :], weight + column[None, :] * k + term[:, None]
    hidden = tl.full((rows, columns), 0.0, tl.float32)
    gate = tl.full((rows, columns), 0.0, tl.float32)
    for start in range(0, k, terms):
        some = tl.load(tokens + start, mask=there, other=0.0)
        hidden = tl.dot(some, tl.load(weights + start), hidden)
        gate = tl.dot(some, tl.load(weights + start + n * k), gate)
    hidden += tl.load(bias + column)[None, :].to(tl.float32)
    gate += tl.load(bias + n + column)[None, :].to(tl.float32)
    # Rounded where the product would have been.
    hidden, gate = hidden.to(x.dtype.element_ty).to(tl.float32), gate.to(x.dtype.element_ty).to(tl.float32)
    made = hidden * 0.5 * gate * (1 + tl.math.erf(gate * 0.7071067811865476))
    tl.store(out + row * n + column[None, :], made.to(x.dtype.element_ty), mask=there)


def launch(kernel, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    x = tokens.reshape(-1, tokens.shape[-1]).contiguous()
    (m, k), n = x.shape, len(weight) // 2
    made = x.new_empty(m, n)
    programs = (triton.cdiv(m, ROWS) * (n // COLUMNS),)
    kernel[programs](x, weight, bias, made, m, n, k, ROWS, COLUMNS, TERMS, NEIGHBOURS, num_warps=8, num_stages=3)
    return made.view(*tokens.shape[:-1], n)


@triton_op("echod::geglu", mutates_args=())
def geglu(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(..., C), (2 D, C) and (2 D,) to (..., D)."""
    return launch(wrap_triton(gated), tokens, weight, bias)
