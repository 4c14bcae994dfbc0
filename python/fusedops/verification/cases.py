"""The one list of cases that every backend runs: shapes, options and memory layouts of each operator.

A layout says how an operand lies in memory (frameworks.py makes it); the dtype is a parameter of the tests.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES = ("float32", "float16", "bfloat16")

CONTIGUOUS = "contiguous"
SWAPPED = "swapped"  # the two dimensions before the last one are swapped in memory (transposed heads)
TRANSPOSED = "transposed"  # the last two dimensions are swapped in memory: the last one is strided
SLICED = "sliced"  # every dimension is a slice of a longer one, the first ones with a step
EXPANDED = "expanded"  # the first dimension has stride 0
UNALIGNED = "unaligned"  # the memory starts at an odd address, where the framework lets it
LAYOUTS = (CONTIGUOUS, SWAPPED, TRANSPOSED, SLICED, EXPANDED, UNALIGNED)


@dataclass(frozen=True)
class Case:
    """What all cases share."""

    layout: str = dataclasses.field(default=CONTIGUOUS, kw_only=True)
    magnitude: float = dataclasses.field(default=1.0, kw_only=True)  # standard deviation of the random inputs

    def __str__(self) -> str:
        """Name the case by its fields that differ from the defaults."""
        parts = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
                parts.append(f"{field.name}={text}")
        return " ".join(parts)

    def random(self) -> np.random.Generator:
        """Return a generator that depends on nothing but the case."""
        return np.random.default_rng(list(str(self).encode()))


@dataclass(frozen=True)
class RmsNormCase(Case):
    """fusedops.rms_norm on x of `shape`."""

    shape: tuple[int, ...]
    weight: str | None = "same"  # "same" dtype as x, another dtype's name, or None for no weight
    eps: float = 1e-6
    weight_offset: float = 0.0
    residual: str | None = None  # as weight
    spike: float | None = None  # in place of x's first column


@dataclass(frozen=True)
class GeluCase(Case):
    """fusedops.gelu on x of `shape`."""

    shape: tuple[int, ...]
    approximate: str = "none"
    bias: str | None = None  # as RmsNormCase.weight
    tail: bool = False  # x is so negative that the result is tiny, and judged by its relative error


@dataclass(frozen=True)
class GegluCase(Case):
    """fusedops.geglu; `shape` is the output's."""

    shape: tuple[int, ...]
    approximate: str = "none"
    packed: bool = False
    gate_first: bool = True  # of the halves of a packed array
    tail: bool = False  # as GeluCase.tail, of the gate


@dataclass(frozen=True)
class SdpaCase(Case):
    """fusedops.sdpa."""

    batch: int
    heads: tuple[int, int]  # query heads, KV heads
    lengths: tuple[int, int]  # queries, keys
    dims: tuple[int, int]  # head_dim, value_dim
    causal: Any = False
    window: Any = None
    softcap: float | None = None
    scale: float | None = None
    mask: str | None = None  # "bool", or a floating dtype's name
    mask_shape: tuple[int | str, ...] = ("B", "H", "Q", "K")  # letters stand for the full extents
    sinks: bool = False
    deterministic: bool = False
    nan: str | None = None  # "q", "k" or "v": one of its elements is NaN
    shared: str = ""  # which of "q", "k" and "v" have a batch of one, which serves all

    def full_mask_shape(self) -> tuple[int, ...]:
        """Return the mask's shape with its letters resolved."""
        extents = {"B": self.batch, "H": self.heads[0], "Q": self.lengths[0], "K": self.lengths[1]}
        return tuple(extents[e] if isinstance(e, str) else e for e in self.mask_shape)


@dataclass(frozen=True)
class SdpaVarlenCase(Case):
    """fusedops.sdpa_varlen."""

    lengths: tuple[tuple[int, int], ...]  # queries and keys of each sequence
    heads: tuple[int, int]  # query heads, KV heads
    dims: tuple[int, int]  # head_dim, value_dim
    causal: Any = False
    window: Any = None
    softcap: float | None = None
    scale: float | None = None
    sinks: bool = False
    slack: int = 0  # by how much max_seqlen_q and max_seqlen_k exceed the longest sequences
    nan: str | None = None  # "q", "k" or "v": one of its elements is NaN

    def offsets(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the values of cu_seqlens_q and cu_seqlens_k."""
        queries, keys = (np.cumsum([0, *(own[i] for own in self.lengths)]) for i in (0, 1))
        return queries, keys

    def longest(self) -> tuple[int, int]:
        """Return max_seqlen_q and max_seqlen_k."""
        queries, keys = (max((own[i] for own in self.lengths), default=0) + self.slack for i in (0, 1))
        return queries, keys


RMS_NORM_CASES = [
    *(RmsNormCase((3, columns)) for columns in (1, 2, 7, 8, 15, 16, 17, 63, 64, 65, 255, 1000, 4096, 5003)),
    # Rows longer than a threadgroup holds at once.
    RmsNormCase((2, 20001)),
    RmsNormCase((2, 20008)),
    RmsNormCase((2, 20008), residual="same", weight="float32"),
    RmsNormCase((2, 20008), residual="float32"),
    RmsNormCase((2, 20001), residual="float32", weight=None),
    RmsNormCase((64,)),
    RmsNormCase((2, 3, 5, 33)),
    RmsNormCase((700, 48)),
    *(RmsNormCase((5, 40), weight=weight) for weight in (None, "float32", "float16", "bfloat16")),
    RmsNormCase((5, 40), weight_offset=1.0),
    RmsNormCase((5, 40), weight=None, weight_offset=0.5),
    RmsNormCase((5, 40), eps=0.3),
    RmsNormCase((5, 40), eps=0.0),
    RmsNormCase((5, 40), residual="same"),
    RmsNormCase((5, 40), residual="float32"),
    RmsNormCase((4, 4096), residual="same", weight="float32", weight_offset=1.0),
    RmsNormCase((4, 4096), residual="float32", weight="float32", weight_offset=1.0),
    RmsNormCase((2, 3, 77), residual="same", weight=None),
    RmsNormCase((700, 48), residual="float32"),
    RmsNormCase((3, 512), magnitude=300.0),  # squares beyond float16's range
    RmsNormCase((3, 512), magnitude=3e-4),  # squares below it
    *(
        RmsNormCase((4, 6, 37), layout=layout, residual=residual)
        for layout in LAYOUTS[1:]
        for residual in (None, "same", "float32")
    ),
    *(RmsNormCase((150, 130), layout=TRANSPOSED, residual=residual) for residual in (None, "same", "float32")),
    RmsNormCase((0, 16)),
    RmsNormCase((3, 0)),
    RmsNormCase((3, 0, 5), residual="same"),
    RmsNormCase((3, 0, 5), residual="float32"),
    RmsNormCase((1, 1)),
]

# Magnitudes whose squares float32 does not hold; float16 makes infinities and zeros of them. Not for Metal: its kernel
# gives zeros or infinities there.
RMS_NORM_EXTREME_CASES = [
    *(
        RmsNormCase((3, columns), magnitude=magnitude, eps=eps, weight=weight)
        for columns, weight in ((1, None), (64, "same"), (5003, "float32"))
        for magnitude, eps in ((1e20, 1e-6), (1e37, 1e-6), (1e25, 0.0), (1e-25, 0.0), (1e-36, 0.0), (1e-41, 0.0))
    ),
    RmsNormCase((3, 64), magnitude=1e-21, eps=2.0**-140),
    *(RmsNormCase((3, 7), magnitude=1e-38, eps=0.0, weight=None, weight_offset=offset) for offset in (1.0, 30.0)),
    RmsNormCase((3, 64), magnitude=1e20, eps=1e38),
    RmsNormCase((3, 64), spike=5e19),
    RmsNormCase((3, 64), spike=-3e38, residual="same"),
    RmsNormCase((3, 64), magnitude=1e20, residual="float32"),
    RmsNormCase((3, 64), spike=np.inf),
    RmsNormCase((3, 64), spike=np.nan),
    RmsNormCase((3, 64), spike=np.nan, magnitude=1e20),
    RmsNormCase((40, 64), magnitude=1e20, layout=TRANSPOSED),
    RmsNormCase((3, 64), magnitude=0.0, eps=0.0),
]

GELU_FORMS = ("none", "tanh", "sigmoid")
GELU_CASES = [
    *(
        GeluCase((size,), approximate=form, magnitude=3.0)
        for form in GELU_FORMS
        for size in (1, 3, 16, 31, 1000, 40001)
    ),
    *(
        GeluCase((5, 33), approximate=form, bias=bias)
        for form in GELU_FORMS
        for bias in ("same", "float32", "bfloat16")
    ),
    GeluCase(()),
    GeluCase((2, 3, 17)),
    GeluCase((3, 20000), bias="same"),
    GeluCase((50,), magnitude=30.0),
    GeluCase((50,), approximate="tanh", magnitude=30.0),
    *(GeluCase((4, 6, 37), layout=layout, bias=bias) for layout in LAYOUTS[1:] for bias in (None, "same")),
    *(GeluCase((150, 1300), layout=TRANSPOSED, bias=bias) for bias in (None, "same")),
    *(GeluCase((1000,), approximate=form, tail=True) for form in GELU_FORMS),
    *(GeluCase((7, 33), approximate=form, bias="same", tail=True) for form in GELU_FORMS),
    GeluCase((0,)),
    GeluCase((3, 0), bias="same"),
    GeluCase((0, 3), bias="same"),
]

GEGLU_CASES = [
    *(GegluCase((7, 45), approximate=form, packed=packed) for form in GELU_FORMS for packed in (False, True)),
    *(GegluCase((7, 45), approximate=form, packed=True, gate_first=False) for form in GELU_FORMS),
    GegluCase((1,)),
    GegluCase((), packed=False),
    GegluCase((1,), packed=True),
    GegluCase((2, 3, 1000), magnitude=3.0),
    GegluCase((2, 20011), packed=True),
    GegluCase((2, 20016), packed=True, gate_first=False),  # whole vectors
    *(GegluCase((4, 6, 37), layout=layout, packed=True, gate_first=False) for layout in LAYOUTS[1:]),
    *(GegluCase((4, 6, 37), layout=layout, packed=packed) for layout in LAYOUTS[1:] for packed in (False, True)),
    *(GegluCase((150, 130), layout=TRANSPOSED, packed=packed) for packed in (False, True)),
    *(
        GegluCase((7, 45), approximate=form, packed=packed, tail=True)
        for form in GELU_FORMS
        for packed in (False, True)
    ),
    GegluCase((0, 8)),
    GegluCase((8, 0), packed=True),
]

_FEW = SdpaCase(1, (4, 2), (3, 150), (16, 16))  # rows one by one on Metal
_SMALL = SdpaCase(5, (4, 2), (5, 13), (16, 16))  # eight rows at a time
_PACKED = SdpaCase(1, (4, 2), (70, 150), (32, 32))  # many rows for each KV head: the CPU's packed path
_MANY_TILES = SdpaCase(1, (2, 2), (33, 300), (64, 64))
_SHARES = ("kv", "k", "v", "q", "qv")


def _variants(case: SdpaCase) -> list[SdpaCase]:
    queries, keys = case.lengths

    def change(**changes: Any) -> SdpaCase:
        return dataclasses.replace(case, **changes)

    return [
        case,
        change(causal=True),
        change(causal="upper_left"),
        change(window=4),
        change(window=(3, 2)),
        change(window=(None, 1)),
        change(window=(2, None), causal=True),
        change(window=(0, 0), causal="upper_left"),
        change(softcap=1.5),
        change(scale=0.3),
        change(scale=-0.3),
        change(sinks=True),
        change(mask="bool"),
        change(mask="bool", mask_shape=("K",)),
        change(mask="bool", mask_shape=("Q", 1)),
        change(mask="bool", mask_shape=("B", 1, 1, "K")),
        change(mask="float32"),
        change(mask="float16", mask_shape=(1, "H", "Q", "K")),
        change(mask="bfloat16", mask_shape=("B", 1, "Q", 1)),
        change(mask="float32", mask_shape=()),
        change(mask="bool", causal=True, window=(6, 0), softcap=3.0, sinks=True),
        change(mask="float32", causal="upper_left", softcap=0.7, sinks=True, scale=0.5),
        change(lengths=(queries, queries), causal=True),
        change(lengths=(keys, queries), causal=True),  # more queries than keys: the first rows see nothing
        change(lengths=(keys, queries), causal=True, sinks=True, mask="bool"),
        change(lengths=(keys, queries), causal="upper_left", window=(3, 5)),
        *(change(layout=layout) for layout in LAYOUTS[1:]),
        *(change(layout=layout, mask="float32", causal=True) for layout in LAYOUTS[1:]),
    ]


SDPA_CASES = [
    # What rows do not see does not reach them, not even NaN.
    *(
        SdpaCase(batch, (4, 2), (queries, 70), (16, 24), causal=True, nan=nan)
        for batch, queries in ((1, 2), (9, 2), (1, 40))
        for nan in ("q", "k", "v")
    ),
    *(
        SdpaCase(3, (4, 2), (queries, keys), (16, 24), shared=shared, causal=True, mask="float32", sinks=True)
        for queries, keys, shares in ((2, 70, _SHARES), (40, 50, _SHARES), (1, 1200, ("k", "qv")))
        for shared in shares
    ),
    *_variants(_FEW),
    *_variants(_SMALL),
    *_variants(_PACKED),
    dataclasses.replace(_PACKED, window=(40, 40)),  # wide windows: some tiles are seen in full, some in part, some not
    dataclasses.replace(_PACKED, lengths=(150, 150), causal=True, window=50),
    dataclasses.replace(_PACKED, heads=(2, 2), causal=True),  # neighbouring rows see different keys
    dataclasses.replace(_PACKED, heads=(6, 2), window=(20, 10)),
    SdpaCase(2, (2, 2), (32, 33), (16, 16), causal=True),  # the last tile of keys holds a single one
    *(
        dataclasses.replace(_MANY_TILES, **change)
        for change in ({}, {"causal": True}, {"mask": "bool"}, {"sinks": True})
    ),
    *(
        SdpaCase(batch, (2, 1), (3, 9), (dim, dim))
        for batch in (1, 11)
        for dim in (1, 3, 8, 40, 72, 80, 96, 112, 128, 160, 192, 256)
    ),
    *(SdpaCase(1, (2, 1), (40, 50), (dim, dim), causal=True) for dim in (1, 40, 64, 72, 96, 128, 192, 256)),
    *(
        SdpaCase(batch, (2, 1), (4, 33), dims)
        for batch in (1, 9)
        for dims in ((192, 128), (96, 64), (8, 3), (3, 8), (576, 512))
    ),
    *(SdpaCase(1, (2, 1), (35, 33), dims, causal=True) for dims in ((192, 128), (5, 40), (40, 5))),
    *(SdpaCase(9, (8, heads), (1, 77), (64, 64)) for heads in (8, 4, 2, 1)),  # decoding: MHA, GQA, MQA
    *(
        SdpaCase(batch, (8, 2), (1, keys), (64, 64), causal=True)
        for batch in (1, 9)
        for keys in (1, 2, 31, 32, 33, 64, 257)
    ),
    SdpaCase(1, (8, 2), (1, 2050), (64, 64), causal=True),
    SdpaCase(1, (2, 1), (1, 3000), (64, 64), sinks=True),  # split over keys
    SdpaCase(1, (2, 1), (1, 3000), (64, 64), window=700),
    *(SdpaCase(17, (4, 2), (queries, 40), (32, 32), causal=True) for queries in (1, 2, 3, 4, 5, 8, 9, 16, 17)),
    # Few queries, many keys: rows of one query head or of several; rows and keys in one threadgroup or in several.
    *(SdpaCase(1, (2, 2), (1, keys), (80, 96), mask="bool", nan=nan) for keys in (600, 1100) for nan in ("k", "v")),
    *(SdpaCase(1, (8, 1), (5, 1100), (72, 40), causal=True, window=1050, sinks=True, nan=nan) for nan in (None, "v")),
    *(SdpaCase(1, (4, 2), (3, 1030), (72, 40), mask="float16", layout=layout) for layout in (SWAPPED, TRANSPOSED)),
    SdpaCase(1, (8, 1), (4, 1030), (64, 64), causal="upper_left", mask="bool", mask_shape=("K",), softcap=5.0),
    *(SdpaCase(batch, (2, 1), (7, 530), (64, 64), window=(300, 0)) for batch in (1, 6)),
    SdpaCase(1, (8, 8), (1, 40), (16, 16), mask="bool", mask_shape=("H", 1, 1)),  # some rows see nothing
    SdpaCase(1, (1, 1), (16, 16), (16, 8), causal=True, nan="v"),  # in one of the last keys
    SdpaCase(1, (1, 1), (1, 13000), (8, 8)),  # more parts than a SIMD-group has lanes
    SdpaCase(1, (12, 4), (13, 40), (32, 32), causal=True, sinks=True),  # tiles of rows that do not end with a query
    SdpaCase(1, (4, 1), (9, 2100), (32, 32), causal=True, sinks=True),  # many rows, split over keys
    SdpaCase(2, (2, 2), (20, 30), (16, 16), magnitude=8.0),  # one key takes nearly all the weight
    SdpaCase(1, (2, 2), (3, 0), (16, 16)),  # no keys
    SdpaCase(1, (2, 2), (0, 3), (16, 16)),
    SdpaCase(0, (2, 2), (3, 3), (16, 16)),
    SdpaCase(1, (0, 2), (3, 3), (16, 16)),
    SdpaCase(1, (2, 2), (3, 4), (16, 0)),
    SdpaCase(1, (2, 2), (3, 4), (0, 16)),
    SdpaCase(1, (1, 1), (1, 1), (1, 1)),
]

_MIXED = SdpaVarlenCase(((5, 13), (0, 4), (40, 70), (1, 33), (3, 0), (9, 9)), (4, 2), (16, 24))
_MIXED_CHANGES: list[dict[str, Any]] = [
    {},
    {"causal": True},
    {"causal": "upper_left", "slack": 3},
    {"window": 6},
    {"window": (3, 2), "softcap": 1.5},
    {"causal": True, "window": (20, None), "sinks": True, "scale": 0.5, "softcap": 3.0},
    {"heads": (2, 2), "sinks": True},
    {"heads": (6, 1), "causal": True},
    *({"nan": nan, "causal": True} for nan in ("q", "k", "v")),
    *({"layout": layout, "causal": True} for layout in LAYOUTS[1:]),
]
SDPA_VARLEN_CASES = [
    *(dataclasses.replace(_MIXED, **change) for change in _MIXED_CHANGES),
    SdpaVarlenCase(((1, 3000), (2, 40), (1, 1)), (8, 2), (64, 64)),  # decoding: the long one is split over keys
    SdpaVarlenCase(((1, 300), (0, 4), (1, 0), (1, 1), (1, 77)), (2, 2), (64, 64), sinks=True),  # a row for each head
    SdpaVarlenCase(((2, 9), (1, 40)) * 9, (4, 2), (64, 40), causal=True),  # many sequences
    SdpaVarlenCase(((200, 200), (70, 70)), (2, 2), (64, 64), causal=True),  # many tiles
    SdpaVarlenCase(((70, 2500), (0, 9), (3, 10), (40, 1200)), (1, 1), (32, 32), causal=True),  # few tiles, many keys
    SdpaVarlenCase(((3, 9), (2, 40)), (1, 1), (260, 16)),  # beyond what prefill kernels take
    SdpaVarlenCase(((7, 5), (2, 4)), (2, 1), (5, 40), causal=True),  # more queries than keys: some see nothing
    SdpaVarlenCase(((6, 6),), (2, 1), (72, 72)),
    SdpaVarlenCase(((0, 3), (0, 0)), (2, 1), (16, 16)),
    SdpaVarlenCase(((3, 0),), (2, 1), (16, 16), sinks=True),
    SdpaVarlenCase((), (2, 1), (16, 16)),
    SdpaVarlenCase(((2, 3),), (0, 0), (16, 16)),
    SdpaVarlenCase(((2, 3),), (2, 1), (16, 0)),
]
