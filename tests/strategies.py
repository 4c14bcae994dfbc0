"""How hypothesis draws cases of each operator: shapes, layouts and options."""

from __future__ import annotations

from hypothesis import strategies as st

from fusedops.verification import cases

layouts = st.sampled_from(cases.LAYOUTS)
dtypes = st.sampled_from(cases.DTYPES)
forms = st.sampled_from(cases.GELU_FORMS)
weights = st.sampled_from([None, "same", "float32", "float16", "bfloat16"])
extents = st.integers(0, 9)
columns = st.integers(0, 300)


@st.composite
def shapes(draw: st.DrawFn, last: st.SearchStrategy[int] = columns) -> tuple[int, ...]:
    return (*draw(st.lists(extents, max_size=3)), draw(last))


rms_norm_cases = st.builds(
    cases.RmsNormCase,
    shape=shapes(),
    weight=weights,
    eps=st.sampled_from([1e-6, 1e-5, 0.1, 0.0]),
    weight_offset=st.sampled_from([0.0, 1.0, -0.3]),
    residual=st.sampled_from([None, "same", "float32"]),
    layout=layouts,
    magnitude=st.sampled_from([1e-3, 1.0, 100.0]),
)
gelu_cases = st.builds(
    cases.GeluCase,
    shape=shapes(),
    approximate=forms,
    bias=weights,
    layout=layouts,
    magnitude=st.sampled_from([1.0, 6.0]),
)


@st.composite
def _geglu_cases(draw: st.DrawFn) -> cases.GegluCase:
    packed = draw(st.booleans())
    gate_first = not packed or draw(st.booleans())
    return cases.GegluCase(draw(shapes()), draw(forms), packed, gate_first, layout=draw(layouts))


geglu_cases = _geglu_cases()


few_lengths = st.integers(0, 150)
some_lengths = st.one_of(st.integers(1, 12), st.integers(1, 200))
more_lengths = st.one_of(some_lengths, st.integers(0, 700))
small_dims = st.tuples(st.integers(1, 70), st.integers(1, 70))
# Of models: equal ones, and those whose values are shorter than their keys.
model_dims = st.sampled_from(
    [(d, d) for d in (40, 80, 96, 112, 128, 160, 192, 256)] + [(192, 128), (96, 64), (576, 512)]
)
windows = st.one_of(st.none(), st.integers(1, 60), st.tuples(*[st.one_of(st.none(), st.integers(0, 40))] * 2))
softcaps = st.sampled_from([None, 0.5, 20.0])
with_nan = st.sampled_from([None, None, "q", "k", "v"])


@st.composite
def sdpa_cases(
    draw: st.DrawFn,
    *,
    batches: int = 2,
    kv_heads: int = 3,
    query_lengths: st.SearchStrategy[int] = some_lengths,
    key_lengths: st.SearchStrategy[int] = more_lengths,
    dims: st.SearchStrategy[tuple[int, int]] = small_dims,
    deterministic: bool = False,
) -> cases.SdpaCase:
    own_kv_heads = draw(st.integers(1, kv_heads))
    mask_shape = tuple(draw(st.sampled_from([letter, 1])) for letter in "BHQK")
    return cases.SdpaCase(
        batch=draw(st.integers(1, batches)),
        heads=(own_kv_heads * draw(st.sampled_from([1, 2, 3, 5])), own_kv_heads),
        lengths=(draw(query_lengths), draw(key_lengths)),
        dims=draw(dims),
        causal=draw(st.sampled_from([False, True, "upper_left"])),
        window=draw(windows),
        softcap=draw(softcaps),
        scale=draw(st.sampled_from([None, 0.1, 1.0])),
        mask=draw(st.sampled_from([None, "bool", "float32", "float16"])),
        mask_shape=mask_shape[draw(st.integers(0, 4)) :],
        sinks=draw(st.booleans()),
        deterministic=deterministic and draw(st.booleans()),
        nan=draw(with_nan),
        shared=draw(st.sampled_from(["", "", "kv", "k", "q"])),
        layout=draw(layouts),
    )


@st.composite
def sdpa_varlen_cases(
    draw: st.DrawFn,
    *,
    key_lengths: st.SearchStrategy[int] = few_lengths,
    dims: st.SearchStrategy[tuple[int, int]] = small_dims,
) -> cases.SdpaVarlenCase:
    query_lengths = st.integers(0, draw(st.sampled_from([1, 4, 40])))
    return cases.SdpaVarlenCase(
        lengths=tuple(draw(st.lists(st.tuples(query_lengths, key_lengths), max_size=6))),
        heads=draw(st.sampled_from([(1, 1), (2, 2), (4, 2), (6, 2), (5, 1)])),
        dims=draw(dims),
        causal=draw(st.sampled_from([False, True, "upper_left"])),
        window=draw(windows),
        softcap=draw(softcaps),
        sinks=draw(st.booleans()),
        slack=draw(st.integers(0, 2)),
        nan=draw(with_nan),
        layout=draw(layouts),
    )
