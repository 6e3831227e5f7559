"""What a card is given to do, counted without one: kernels, bytes and FLOP of a window call and of decoding.

    python benchmarks/traced.py                   # full width, 512x512: before, with a card's ways, compiled
    python benchmarks/traced.py --assemble 80 90 # and whether every compiled kernel assembles for those

Models and inputs are fake: they have shapes and a device and no numbers, so nothing is computed and little memory is
needed. torch is told that there is an H100; of its kernels for attention FlashAttention is counted, and the
memory-efficient one where there is a mask. Bytes are what kernels read and write, each tensor once a kernel: what
caches save, and what a kernel reads twice, is not in them. Needs a torch without CUDA, and Triton for what is compiled.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from echod.inference.echomimic.card import TOGETHER, Ways
from echod.inference.echomimic.config import WINDOW, ModelConfig, UNetConfig
from echod.inference.echomimic.denoiser import Conditions, DenoisingUNet, Resnet, TransformerBlock
from echod.inference.echomimic.motion import parting_mask
from echod.inference.echomimic.pictures import decode_batch
from echod.inference.echomimic.weights import Models

aten = torch.ops.aten
CARD = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3", major=9, minor=0, multi_processor_count=132, total_memory=80 << 30, warp_size=32,
    regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048, max_threads_per_block=1024, gcnArchName="",
    L2_cache_size=50 << 20, shared_memory_per_block_optin=232448, shared_memory_per_block=49152,
)  # fmt: skip
VIEWS = (
    "view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "split", "split_with_sizes", "unsqueeze",
    "squeeze", "select", "detach", "alias", "unbind", "as_strided", "empty", "chunk", "lift_fresh",
)  # fmt: skip


class Work(NamedTuple):
    """One call of a module."""

    name: str
    module: nn.Module
    given: tuple[Any, ...]


class Count(NamedTuple):
    """Of one call. `copies` are kernels that only change the order in memory."""

    kernels: int
    copies: int
    gigabytes: float
    teraflop: float
    norm_copies: int

    def line(self, name: str) -> str:
        flop = f"{self.teraflop:6.2f}" if self.teraflop else "     -"
        return f"{name:44} {self.kernels:7} {self.copies:6} {self.norm_copies:11} {self.gigabytes:7.1f} {flop}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--small", action="store_true", help="few layers, to try this script")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--keep", type=Path, help="a directory for the programs that are generated")
    parser.add_argument("--assemble", type=int, nargs="*", default=[], help="compute capabilities, such as 80 90")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    sides = height // 8, width // 8
    print(f"torch {torch.__version__}, fake float16 tensors of an H100, {options.size}, a window of {WINDOW} frames")
    print(f"{'':44} {'kernels':>7} {'copies':>6} {'of norms':>11} {'GB':>7} {'TFLOP':>6}")
    config = (
        ModelConfig(unet=UNetConfig(block_out_channels=(320,), layers_per_block=1)) if options.small else ModelConfig()
    )
    plain, card = Ways(channels_last=True), Ways.on((9, 0), True)
    with pretending():
        for make, all_ways in ((window, (plain, card)), (decoding, (plain,))):
            for ways in all_ways:
                work = make(config, ways, sides)
                how = "as it is" if ways is plain else "with the ways of cards"
                print(eager(work).line(f"{work.name}, {how}"), flush=True)
            if not options.eager:
                began = time.monotonic()
                count, code = compiled(work)
                print(
                    count.line(f"{work.name}, compiled"), f"  ({time.monotonic() - began:.0f} s of tracing)", flush=True
                )
                if options.keep:
                    (options.keep / f"{make.__name__}.py").write_text(code)
                for capability in options.assemble:
                    print(f"    {assembled(code, capability)}", flush=True)


# What is counted


def window(config: ModelConfig, ways: Ways, sides: tuple[int, int]) -> Work:
    net = faked(lambda: DenoisingUNet(config.unet), ways)
    h, w = sides
    latents = fake(WINDOW, 4, h, w).contiguous(memory_format=torch.channels_last)
    bank = {path: (fake(1, tokens, 8, c // 8).transpose(1, 2),) * 2 for path, tokens, c in blocks(net, config, h * w)}
    shifts = {part.path: fake(1, part.conv1.out_channels, 1, 1) for part in net.modules() if isinstance(part, Resnet)}
    mask = parting_mask(TOGETHER, WINDOW, latents) if ways.together else None
    face = fake(1, config.unet.block_out_channels[0], h, w)
    given = Conditions(shifts, fake(WINDOW, 50, config.unet.cross_attention_dim), face, bank, WINDOW, mask=mask)
    return Work(f"window call of {WINDOW} frames", net, (latents, given))


def blocks(net: nn.Module, config: ModelConfig, places: int) -> Iterator[tuple[str, int, int]]:
    """Of each transformer block the path, the tokens and the channels: the deeper the level, the fewer tokens."""
    deepest = len(config.unet.block_out_channels) - 1
    for part in net.modules():
        if isinstance(part, TransformerBlock):
            kind, level, *_ = part.path.split(".")
            depth = {"down_blocks": lambda: int(level), "up_blocks": lambda: deepest - int(level)}  # noqa: B023
            yield part.path, places >> 2 * depth.get(kind, lambda: deepest)(), part.attn1.to_q.in_features


def decoding(config: ModelConfig, ways: Ways, sides: tuple[int, int]) -> Work:
    vae = faked(lambda: AutoencoderKL(**config.vae), ways)
    batch = decode_batch(torch.empty(4, 4, *sides, device="meta"))
    return Work(f"decoding {batch} frames", vae.decoder, (fake(batch, 4, *sides),))


def faked(make: Callable[[], nn.Module], ways: Ways) -> Any:
    """A module with parameters of the card that have no memory."""
    with torch.device("meta"):
        net: Any = make().eval().requires_grad_(False)
    for part in net.modules():
        for key, held in part._parameters.items():
            if held is not None:
                part._parameters[key] = nn.Parameter(fake(*held.shape), requires_grad=False)
        for key, held in part._buffers.items():
            part._buffers[key] = fake(*held.shape).to(held.dtype)
    others = nn.ModuleList()
    ways.take(Models(others, net, others, others, others, config=ModelConfig(), tiny=True))  # type: ignore[arg-type]
    return net


def fake(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float16, device="cuda")


# Eager


class Kernels(TorchDispatchMode):
    """Counts what would be launched. A convolution adds its bias in a kernel of its own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: Counter[str] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in VIEWS or name.startswith("prim"):
            return made
        read, written = sizes((args, kwargs)), sizes(made)
        if name == "native_group_norm":
            read += args[0].nbytes  # once for the moments, once more to use them
        if name == "convolution" and args[2] is not None:
            self.note("bias", 2 * made.nbytes)
        self.note("copy" if name in ("clone", "_to_copy", "copy_", "contiguous") else name, read + written)
        return made

    def note(self, name: str, size: int) -> None:
        self.kernels[name] += 1
        self.bytes += size


def sizes(tensors: Any) -> int:
    return sum(each.nbytes for each in tree_leaves(tensors) if isinstance(each, Tensor) and each.is_cuda)


def eager(work: Work) -> Count:
    with FlopCounterMode(display=False) as flop:
        work.module(*work.given)
    copied, norm = list[bool](), F.group_norm

    def noted(x: Tensor, *given: Any) -> Tensor:
        copied.append(not x.is_contiguous())  # torch's kernel takes channels first only
        return norm(x, *given)

    with Kernels() as kernels, patch.object(F, "group_norm", noted):
        work.module(*work.given)
    seen = kernels.kernels
    giga, tera = kernels.bytes / 1e9, flop.get_total_flops() / 1e12
    return Count(seen.total(), seen["copy"], giga, tera, sum(copied))


# Compiled


class Captured(BaseException):
    """What is generated is not run. No `except Exception` on the way may hold it."""


def compiled(work: Work) -> tuple[Count, str]:
    """Count, and the program that torch's compiler writes."""
    import torch._inductor.config as inductor
    from torch._inductor.graph import GraphLowering

    found: list[Any] = []

    def capture(graph: Any) -> Any:
        code, _ = graph.codegen()
        found.extend((code.value, {node: bytes_of(node) for node in graph.scheduler.nodes}))
        raise Captured

    # As workers set it; what is folded would be computed, for which there is nothing here.
    workers = inductor.patch(
        fx_graph_cache=False, deterministic=True, compile_threads=1, joint_graph_constant_folding=False
    )
    with workers, patch.object(GraphLowering, "compile_to_module", capture), suppress(Captured):
        torch.compile(work.module.forward, dynamic=False, fullgraph=True)(*work.given)
    code, nodes = found
    parts = Counter[str]()
    for node, size in nodes.items():
        parts[kernel_of(node)] += size
    calls = code[code.index("def call(") :]
    triton = re.findall(r"(\w+)\.run\(", calls)
    others = re.findall(r"(?:extern_kernels\.\w+|torch\.ops\.aten\.\w+(?:\.default)?)\(", calls)
    # Names say what was fused: of those that move memory only, nothing else is in the name.
    moves = re.compile(r"triton_poi_fused_(?:clone|convolution|permute|transpose|view|_unsafe_view|_)*\d*$")
    copies = [name for name in triton if moves.match(name)]
    print("    GB:", ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.most_common()))
    print(
        "    kernels:", ", ".join(f"{n} {name}" for name, n in Counter(["triton"] * len(triton) + others).most_common())
    )
    return Count(len(triton) + len(others), len(copies), parts.total() / 1e9, 0.0, norm_copies(calls)), code


def bytes_of(node: Any) -> int:
    """What it reads and writes. A kernel of our own is handed what it fills, and reads none of that."""
    sizes: dict[str, int] = node.get_read_write_buffer_accesses(include_reads=True, include_writes=True)
    filled = (
        {each.get_name() for each in node.node.mutable_args} if kernel_of(node) == "UserDefinedTritonKernel" else set()
    )
    return sum(size for name, size in sizes.items() if name not in filled)


def kernel_of(node: Any) -> str:
    extern = type(node).__name__ == "ExternKernelSchedulerNode"
    return str(getattr(node.node, "python_kernel_name", None) or type(node.node).__name__) if extern else "triton"


def norm_copies(calls: str) -> int:
    """GroupNorms that were not taken apart, to be fused with what is around them."""
    return calls.count("native_group_norm.default(")


def assembled(code: str, capability: int) -> str:
    """How many of the program's kernels the assembler in Triton's package makes code of."""
    from torch._inductor.codecache import PyCodeCache
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner
    from triton.backends.compiler import GPUTarget

    sources = re.findall(r"async_compile\.triton\('(\w+)', '''(.*?)'''", code, re.DOTALL)
    good, bad, tuned = 0, list[str](), 0
    for name, source in sources:
        kernel: CachingAutotuner = getattr(PyCodeCache.load(source), name)
        tuned += "triton_poi" not in name and len(kernel.configs or ()) > 1  # in which order others sum is their bits
        kernel.device_props = kernel.device_props._replace(cc=capability)
        with patch("torch._inductor.runtime.triton_heuristics.GPUTarget", lambda *_: GPUTarget("cuda", capability, 32)):
            try:
                for each in kernel.configs or ():
                    kernel._precompile_config(each)
                good += 1
            except Exception as error:
                bad.append(f"{name}: {type(error).__name__} {error}")
    said = f"{good} of {len(sources)} distinct kernels assembled, {tuned} reductions tuned by timing"
    return f"sm_{capability}: {said} {bad[:3] or ''}"


# A card that is not there


@contextmanager
def pretending() -> Iterator[None]:
    """Have a torch without CUDA trace what one with an H100 would be given."""
    from torch._inductor.fx_passes import fuse_attention, pad_mm
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    # c10's table of device guards has none for CUDA; that of fake tensors' own device does nothing, as is wanted.
    c10 = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 20).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    guards[1] = guards[14]  # c10::DeviceType: CUDA, Meta
    driver.set_active(SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0,
        get_active_torch_device=lambda: torch.device("cuda", 0),
    ))  # fmt: skip
    state = torch.zeros(16, dtype=torch.uint8)
    cuda: dict[str, Any] = {
        "get_device_properties": lambda *_: CARD, "_get_device_properties": lambda *_: CARD,
        "get_device_capability": lambda *_: (9, 0), "current_device": lambda: 0, "device_count": lambda: 1,
        "is_available": lambda: True, "_lazy_init": lambda: None, "_exchange_device": lambda _: 0,
        "_maybe_exchange_device": lambda _: 0, "synchronize": lambda *_: None, "get_rng_state": lambda *_: state,
        "set_rng_state": lambda *_: None, "current_stream": lambda *_: SimpleNamespace(cuda_stream=0),
    }  # fmt: skip
    patches = [patch.object(torch.cuda, name, what, create=True) for name, what in cuda.items()]
    patches += [
        patch("torch.cuda.random._lazy_init", lambda: None),
        patch.object(torch._C, "_conv_determine_backend_memory_format", convolution_format),
        patch.object(F, "scaled_dot_product_attention", attention),
        # Patterns that are looked for in what users write; filling the tables would need real tensors.
        patch.object(fuse_attention, "_sfdp_init", lambda *_, **__: None),
        patch.object(pad_mm, "_pad_mm_init", lambda *_, **__: None),
        patch("torch._inductor.runtime.triton_helpers.set_driver_to_gpu", lambda: None),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
    ]
    for each in patches:
        each.__enter__()
    yield


def convolution_format(x: Tensor, weight: Tensor, backend: Any) -> torch.memory_format:
    """cuDNN's."""
    last = any(
        each.is_contiguous(memory_format=torch.channels_last) and not each.is_contiguous() for each in (x, weight)
    )
    return torch.channels_last if last else torch.contiguous_format


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **_: Any) -> Any:
    if mask is None and query.shape[-1] <= 256:
        return aten._scaled_dot_product_flash_attention(query, key, value)[0]
    if mask is not None:
        mask = mask.expand(*query.shape[:2], -1, -1)
    return aten._scaled_dot_product_efficient_attention(query, key, value, mask, False)[0]


if __name__ == "__main__":
    main()
