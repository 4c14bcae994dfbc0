"""Metal text as tokens: their lines, matching brackets, template lists and attributes.

A translation is the same token list with some tokens replaced, so everything that no emitter touches, line markers
included, reaches the target's compiler as it was written.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from ..errors import SimulatorError

_TOKEN = re.compile(
    r"""(?P<directive>^[ \t]*\#[^\n]*)
      | (?P<space>\s+)
      | (?P<raw>(?:u8|[uUL])?R")
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|'\w|[\w.])*)
      | (?P<identifier>[A-Za-z_]\w*)
      | (?P<operator><:(?!:[^:>])|:>|<%|%>|%:|::|->|\+\+|--|&&|\|\||<<|<=|>=|==|!=|[-+*/%&|^]=|.)""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_LINE_MARKER = re.compile(r'\s*#\s*(?:line\s+)?(\d+)\s+"([^"]*)"')
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(slots=True)
class Token:
    """One token; a translation writes `before + code + after` in its place."""

    kind: str
    text: str
    file: str
    line: int
    before: str = ""
    code: str = field(init=False)
    after: str = ""

    def __post_init__(self) -> None:
        self.code = self.text


def tokens_of(text: str) -> list[Token]:
    """All tokens of preprocessed text, white space and directives included."""
    tokens = []
    file, line = "", 1
    for match in _TOKEN.finditer(text):
        token = Token(str(match.lastgroup), match.group(), file, line)
        tokens.append(token)
        if token.kind == "directive" and (marker := _LINE_MARKER.match(token.text)):
            file, line = marker[2], int(marker[1]) - 1
        line += token.text.count("\n")
    return tokens


def is_line_marker(token: Token) -> bool:
    """Whether a token is `# 12 "file"`, as the preprocessor leaves it."""
    return token.kind == "directive" and _LINE_MARKER.match(token.text) is not None


class Source:
    """Preprocessed Metal text. Indices count the tokens that are neither white space nor directives."""

    def __init__(self, text: str):
        """Split `text`; unbalanced brackets are a SimulatorError."""
        self.all_tokens = tokens_of(text)
        self.tokens = [token for token in self.all_tokens if token.kind not in ("space", "directive")]
        self._partner = self._match_brackets()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> str:
        """The text of a token, empty outside of the file, so that looking ahead needs no care."""
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def _match_brackets(self) -> dict[int, int]:
        partner: dict[int, int] = {}
        open_brackets: list[int] = []
        for index, token in enumerate(self.tokens):
            if token.text in _CLOSING:
                open_brackets.append(index)
            elif token.text in _CLOSING.values():
                if not open_brackets or _CLOSING[self[open_brackets[-1]]] != token.text:
                    raise SimulatorError(f"{self.where(index)}: unbalanced '{token.text}'")
                opening = open_brackets.pop()
                partner[opening], partner[index] = index, opening
        if open_brackets:
            raise SimulatorError(f"{self.where(open_brackets[-1])}: unbalanced '{self[open_brackets[-1]]}'")
        return partner

    def where(self, index: int) -> str:
        """`file:line` of a token."""
        token = self.tokens[min(index, len(self.tokens) - 1)]
        return f"{token.file}:{token.line}"

    def text(self, start: int, stop: int) -> str:
        """The tokens' texts, separated by spaces."""
        return " ".join(token.text for token in self.tokens[start:stop])

    def is_identifier(self, index: int) -> bool:
        return self.tokens[index].kind == "identifier"

    def partner(self, index: int) -> int:
        """The other bracket of a pair."""
        return self._partner[index]

    def past(self, index: int) -> int:
        """The index after a token, or after the whole bracketed group if the token opens one."""
        return self._partner[index] + 1 if self[index] in _CLOSING else index + 1

    def past_angle(self, index: int) -> int:
        """The index after the template list that the '<' at `index` opens."""
        depth, position = 0, index
        while position < len(self.tokens):
            text = self[position]
            if text == "<" and self.is_identifier(position - 1):  # after `)` or a number it compares
                depth += 1
            elif text == ">":
                depth -= 1
                if depth == 0:
                    return position + 1
            position = self.past(position)
        raise SimulatorError(f"{self.where(index)}: unbalanced '<'")

    def past_templates(self, index: int) -> int:
        """The index after the `template <...>` heads that begin at `index`."""
        while self[index] == "template":
            index = self.past_angle(index + 1)
        return index

    def find(self, start: int, stop: int, texts: Collection[str]) -> int:
        """The first token of `texts` in [start, stop) outside of brackets, or stop."""
        while start < stop and self[start] not in texts:
            start = self.past(start)
        return min(start, stop)

    def split(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The ranges between the commas of a list, e.g. of parameters."""
        ranges, first, index = [], start, start
        while index < stop:
            if self[index] == ",":
                ranges.append((first, index))
                first = index + 1
            index = self.past_angle(index) if self[index] == "<" else self.past(index)
        return [*ranges, (first, stop)] if first < stop else ranges

    def is_attribute(self, index: int) -> bool:
        """Whether an attribute group `[[...]]` opens here."""
        return self[index] == "[" and self[index + 1] == "[" and self._partner[index] == self._partner[index + 1] + 1

    def attributes(self, start: int, stop: int) -> dict[str, str]:
        """The attributes in a range: their arguments by name, e.g. {"buffer": "0", "kernel": ""}."""
        found: dict[str, str] = {}
        for group in (index for index in range(start, stop) if self.is_attribute(index)):
            index, close = group + 2, self._partner[group + 1]
            while index < close:
                arguments = range(index + 2, self._partner[index + 1]) if self[index + 1] == "(" else range(0)
                if self.is_identifier(index):
                    found[self[index]] = self.text(arguments.start, arguments.stop)
                index = max(index + 1, arguments.stop + 1)
        return found
