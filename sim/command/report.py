"""What a run wrote, in words, and whether the orders agree."""

import numpy as np

from .buffers import Buffer

Results = dict[int, Buffer]  # the buffers after a run, by index


def differ(left: Buffer, right: Buffer) -> bool:
    """Whether two states of a buffer differ in any bit."""
    return left.data.tobytes() != right.data.tobytes()


def summary(buffer: Buffer, name: str, poisoned: Buffer) -> str:
    """Type, shape, range and first values of a buffer that a run has written; `poisoned` is what it held before."""
    values = buffer.values().astype(np.float64)
    finite = values[np.isfinite(values)]
    words = [f"buffer {buffer.index} ({name}): {buffer.dtype} {buffer.shape}"]
    if finite.size:
        words += [f"min {finite.min():.6g}", f"max {finite.max():.6g}", f"mean {finite.mean():.6g}"]
    if buffer.is_float:
        words.append(f"NaN {np.isnan(values).sum()}{_left_alone(buffer, poisoned)}")
    return ", ".join([*words, "first " + " ".join(f"{value:.6g}" for value in values.flat[:4])])


def _left_alone(buffer: Buffer, before: Buffer) -> str:
    """How many NaN were there before and still are, bit for bit."""
    bits = f"u{buffer.data.itemsize}"
    count = ((buffer.data.view(bits) == before.data.view(bits)) & np.isnan(before.values())).sum()
    return f" ({count} never written)" if count else ""


def agreement(results: dict[str, Results]) -> list[str]:
    """A line that says that all orders gave the same bits, or a line for each buffer that differs."""
    (first_order, first), *others = results.items()
    lines = []
    for order, result in others:
        for index, buffer in result.items():
            if differ(first[index], buffer):
                lines.append(
                    f"orders differ: {first_order} and {order} in buffer {index}, {_distance(first[index], buffer)}"
                )
    return lines or [f"orders agree bit for bit: {', '.join(results)}"]


def _distance(left: Buffer, right: Buffer) -> str:
    before, after = left.values().astype(np.float64), right.values().astype(np.float64)
    one_nan = np.isnan(before) != np.isnan(after)
    with np.errstate(invalid="ignore"):
        error = np.where(before == after, 0, np.abs(before - after))
    largest = np.max(error, where=~np.isnan(error), initial=0)
    count = np.count_nonzero(one_nan | (error > 0))
    nan = f", {np.count_nonzero(one_nan)} of them NaN in one" if one_nan.any() else ""
    return f"{count} of {before.size} elements, by up to {largest:.2g}{nan}"
