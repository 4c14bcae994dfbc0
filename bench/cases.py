"""What is timed: cases (an operator at one shape) and the suites made of them. Knows no framework."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, Literal, get_args

ITEM_SIZES = {"f32": 4, "f16": 2, "bf16": 2}

Shape = tuple[int, ...]
Approximate = Literal["none", "tanh"]


class Mode(Enum):
    """What one timed call is."""

    THROUGHPUT = "throughput"
    """The work counts: GB/s, GFLOP/s and the share of the limit are reported."""
    OVERHEAD = "overhead"
    """The work is next to nothing: what is left is the cost of the call."""
    LAZY = "lazy"
    """As OVERHEAD, but MLX only builds its graph and never evaluates it."""


class Limit(Enum):
    """What a case cannot be faster than."""

    COPY = "copy"
    """Moving its bytes, read and written ones."""
    READ = "read"
    """Reading its bytes: hardly any are written."""
    COMPUTE = "compute"
    """The arithmetic of its matrix products."""


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One operator at one shape."""

    op: ClassVar[str]
    """The function of fusedops that is called."""
    mode: Mode = Mode.THROUGHPUT

    @property
    def kind(self) -> str:
        """What the summary takes together."""
        return self.op

    @property
    @abstractmethod
    def shapes(self) -> dict[str, Shape]:
        """The input arrays, in the order in which every implementation takes them."""

    @property
    @abstractmethod
    def description(self) -> str: ...

    @abstractmethod
    def bytes_moved(self, item_size: int) -> int:
        """The compulsory traffic: every input read once, every output written once."""

    @property
    def flops(self) -> int | None:
        """Floating-point operations of the matrix products; None where bytes are all that counts."""
        return None

    @property
    def limit(self) -> Limit:
        """What the shares in the report are shares of."""
        return Limit.COPY

    @property
    def name(self) -> str:
        return f"{self.description} lazy" if self.mode is Mode.LAZY else self.description


@dataclass(frozen=True, kw_only=True)
class RmsNorm(Case):
    """rms_norm of x (rows, hidden), with a residual also x + residual."""

    op: ClassVar[str] = "rms_norm"
    rows: int
    hidden: int
    residual: bool = False

    @property
    def kind(self) -> str:
        return "add + rms_norm" if self.residual else self.op

    @property
    def shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"x": (self.rows, self.hidden), "weight": (self.hidden,)}
        return shapes | {"residual": shapes["x"]} if self.residual else shapes

    @property
    def description(self) -> str:
        return f"{'add + norm ' if self.residual else ''}{self.rows}x{self.hidden}"

    def bytes_moved(self, item_size: int) -> int:
        matrices = 4 if self.residual else 2
        return (matrices * self.rows + 1) * self.hidden * item_size


@dataclass(frozen=True, kw_only=True)
class Gelu(Case):
    """Gelu of x."""

    op: ClassVar[str] = "gelu"
    shape: Shape
    approximate: Approximate = "none"

    @property
    def shapes(self) -> dict[str, Shape]:
        return {"x": self.shape}

    @property
    def description(self) -> str:
        return _activation(self.shape, self.approximate)

    def bytes_moved(self, item_size: int) -> int:
        return 2 * math.prod(self.shape) * item_size


@dataclass(frozen=True, kw_only=True)
class Geglu(Case):
    """gelu(gate) * up."""

    op: ClassVar[str] = "geglu"
    shape: Shape
    approximate: Approximate = "none"

    @property
    def shapes(self) -> dict[str, Shape]:
        return {"gate": self.shape, "up": self.shape}

    @property
    def description(self) -> str:
        return _activation(self.shape, self.approximate)

    def bytes_moved(self, item_size: int) -> int:
        return 3 * math.prod(self.shape) * item_size


@dataclass(frozen=True, kw_only=True)
class Sdpa(Case):
    """Attention: one query is decode, bound by reading K and V; more are prefill, bound by FLOPs.

    Causal cases are square, where the frameworks' two causal alignments agree.
    """

    op: ClassVar[str] = "sdpa"
    batch: int = 1
    query_heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int
    causal: bool = False

    @property
    def shapes(self) -> dict[str, Shape]:
        keys = (self.batch, self.kv_heads, self.key_length, self.head_dim)
        return {"q": (self.batch, self.query_heads, self.query_length, self.head_dim), "k": keys, "v": keys}

    @property
    def description(self) -> str:
        heads = f"B{self.batch} H{self.query_heads}/{self.kv_heads} D{self.head_dim}"
        if self.kind == "decode":
            return f"decode {heads} KV{self.key_length}"
        return f"prefill {heads} L{self.query_length} {'causal' if self.causal else 'full'}"

    @property
    def kind(self) -> str:
        return "prefill" if self.query_length > 1 else "decode"

    def bytes_moved(self, item_size: int) -> int:
        queries_and_output = 2 * self.query_heads * self.query_length
        keys_and_values = 2 * self.kv_heads * self.key_length
        return self.batch * (queries_and_output + keys_and_values) * self.head_dim * item_size

    @property
    def flops(self) -> int:
        """Two products of 2 * head_dim operations for every pair of a query and a key that it sees."""
        length = self.query_length
        pairs = length * (length + 1) // 2 if self.causal else length * self.key_length
        return 4 * self.batch * self.query_heads * pairs * self.head_dim

    @property
    def limit(self) -> Limit:
        return Limit.COMPUTE if self.kind == "prefill" else Limit.READ


def _activation(shape: Shape, approximate: Approximate) -> str:
    return "x".join(map(str, shape)) + ("" if approximate == "none" else f" {approximate}")


def prefill(length: int, *, heads: tuple[int, int] = (32, 8), head_dim: int = 128, causal: bool = True) -> Sdpa:
    return Sdpa(
        query_heads=heads[0],
        kv_heads=heads[1],
        query_length=length,
        key_length=length,
        head_dim=head_dim,
        causal=causal,
    )


def decode(key_length: int) -> Sdpa:
    return Sdpa(query_heads=32, kv_heads=8, query_length=1, key_length=key_length, head_dim=128)


def quick(device: str) -> list[Case]:
    """One or two cases of each operator, everything in under a minute on two cores."""
    return [
        RmsNorm(rows=128, hidden=4096),
        RmsNorm(rows=128, hidden=4096, residual=True),
        Gelu(shape=(1_000_000,)),
        Gelu(shape=(1_000_000,), approximate="tanh"),
        Geglu(shape=(1_000_000,)),
        prefill(128),
        decode(1024),
    ]


PROMPT_TOKENS = {"mlx-cpu": 128, "cpu": 512}
"""Prompts that keep `--suite llama` under 100 s on two cores; MLX's own CPU attention needs seconds at 512 tokens."""
GPU_PROMPT_TOKENS = 4096


def llama(device: str) -> list[Case]:
    """Llama-3.1-8B: hidden 4096, intermediate 14336, 32 query and 8 kv heads of 128; a prompt and one decode step.

    The prompt has 512 tokens on "cpu", 128 on "mlx-cpu" and 4096 on GPUs; decode attends to 4096 and 16384 keys.
    The model's activation is SiLU; gelu and geglu are timed at the shape where a GELU model has them.
    """
    prompt = PROMPT_TOKENS.get(device, GPU_PROMPT_TOKENS)
    cases: list[Case] = []
    for rows in (prompt, 1):
        cases += [
            RmsNorm(rows=rows, hidden=4096),
            RmsNorm(rows=rows, hidden=4096, residual=True),
            Gelu(shape=(rows, 14336), approximate="tanh"),
            Geglu(shape=(rows, 14336), approximate="tanh"),
        ]
    return [*cases, prefill(prompt), decode(4096), decode(16384)]


def norms(device: str) -> list[Case]:
    """Rows 1, 32 and 2048 of 1024, 4096 and 8192, with and without a residual."""
    return [
        RmsNorm(rows=rows, hidden=hidden, residual=residual)
        for residual in (False, True)
        for hidden in (1024, 4096, 8192)
        for rows in (1, 32, 2048)
    ]


def activations(device: str) -> list[Case]:
    """Gelu and geglu, each in both forms, of a thousand to ten million elements."""
    sizes = [10**exponent for exponent in range(3, 8)]
    return [
        activation(shape=(size,), approximate=approximate)
        for activation in (Gelu, Geglu)
        for approximate in get_args(Approximate)
        for size in sizes
    ]


def prefills(device: str) -> list[Case]:
    """Lengths 128 to 2048, GQA and not, causal and full; on "mlx-cpu" only to 512: MLX's own takes seconds beyond."""
    lengths = [length for length in (128, 256, 512, 1024, 2048) if device != "mlx-cpu" or length <= 512]
    return [
        prefill(length, heads=heads, head_dim=head_dim, causal=causal)
        for heads, head_dim in (((8, 2), 128), ((12, 12), 64))
        for causal in (True, False)
        for length in lengths
    ]


def decodes(device: str) -> list[Case]:
    """One query of 32 heads to 8 kv heads of 128, 1024 to 16384 keys."""
    return [decode(key_length) for key_length in (1024, 2048, 4096, 8192, 16384)]


def attention(device: str) -> list[Case]:
    """Causal prompts of 2048 tokens with heads of 128 and 64, one query to 4096 and 32768 keys; 32 heads on 8."""
    return [prefill(2048), prefill(2048, head_dim=64), decode(4096), decode(32768)]


def overhead(device: str) -> list[Case]:
    """Calls with next to no work; MLX's evaluated and, as cases of their own, merely building their graph."""
    tiny: list[Case] = [
        RmsNorm(rows=1, hidden=64),
        RmsNorm(rows=1, hidden=64, residual=True),
        Gelu(shape=(1, 64)),
        Geglu(shape=(1, 64)),
        Sdpa(query_heads=1, kv_heads=1, query_length=1, key_length=1, head_dim=64),
    ]
    modes = [Mode.OVERHEAD, Mode.LAZY] if device.startswith("mlx") else [Mode.OVERHEAD]
    return [replace(case, mode=mode) for mode in modes for case in tiny]


SUITES: dict[str, Callable[[str], list[Case]]] = {
    "quick": quick,
    "llama": llama,
    "norms": norms,
    "activations": activations,
    "prefill": prefills,
    "decode": decodes,
    "attention": attention,
    "overhead": overhead,
}
"""The cases of a suite on a device."""


def cases_of(suites: list[str], device: str) -> list[Case]:
    """The cases of all these suites in order, none twice."""
    return list(dict.fromkeys(case for suite in suites for case in SUITES[suite](device)))
