"""Reads what a dynamic loader would of a 64-bit Mach-O library or module: what it imports, exports and signs.

Formats: Apple's <mach-o/loader.h>, <mach-o/nlist.h> and <kern/cs_blobs.h>.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MAGIC_64 = 0xFEEDFACF
CPU_ARM64 = 0x0100000C

LC_SYMTAB = 0x2
LC_DYSYMTAB = 0xB
LC_SEGMENT_64 = 0x19
LC_CODE_SIGNATURE = 0x1D
LC_DYLD_INFO = (0x22, 0x80000022)
LC_BUILD_VERSION = 0x32
LC_RPATH = 0x8000001C
LC_LOADED_LIBRARIES = (0xC, 0x80000018, 0x8000001F)  # plain, weak, re-exported
LC_DYLD_EXPORTS_TRIE = 0x80000033

N_WEAK_REFERENCE = 0x40
DYNAMIC_LOOKUP_ORDINAL = 0xFE

PLATFORM_MACOS = 1
SIGNATURE_MAGIC = 0xFADE0CC0
CODE_DIRECTORY_SLOT = 0
HASH_SHA256 = 2


@dataclass(frozen=True)
class Import:
    """A symbol that a binary expects of another.

    Attributes:
        symbol: Its name, with the leading underscore.
        library: Install name of the library that must have it; None if the loader may take it from any.
        optional: Whether the binary loads without it.
    """

    symbol: str
    library: str | None
    optional: bool


class MachO:
    """One binary for Apple silicon.

    Args:
        data: The file's bytes.

    Raises:
        ValueError: It is not a 64-bit Mach-O file for arm64.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        magic, cpu, _, _, self._command_count = struct.unpack_from("<5I", data)
        if magic != MAGIC_64 or cpu != CPU_ARM64:
            raise ValueError("not a 64-bit Mach-O file for arm64")

    def _commands(self, *kinds: int) -> Iterator[tuple[int, int]]:
        """Offset and size of each load command of these kinds."""
        offset = 32
        for _ in range(self._command_count):
            kind, size = struct.unpack_from("<2I", self._data, offset)
            if kind in kinds:
                yield offset, size
            offset += size

    def _fields(self, kind: int, layout: str) -> tuple[int, ...]:
        """What follows kind and size in the only load command of this kind; empty if there is none."""
        for offset, _ in self._commands(kind):
            return struct.unpack_from(layout, self._data, offset + 8)
        return ()

    def _text(self, offset: int) -> str:
        return self._data[offset : self._data.index(b"\0", offset)].decode()

    def _command_strings(self, *kinds: int) -> list[str]:
        return [
            self._text(offset + struct.unpack_from("<I", self._data, offset + 8)[0])
            for offset, _ in self._commands(*kinds)
        ]

    @cached_property
    def deployment_target(self) -> str:
        """The oldest macOS that it runs on, as "14.0".

        Raises:
            ValueError: It is not for macOS, or does not say.
        """
        fields = self._fields(LC_BUILD_VERSION, "<2I")
        if not fields or fields[0] != PLATFORM_MACOS:
            raise ValueError("no build version for macOS")
        return f"{fields[1] >> 16}.{fields[1] >> 8 & 0xFF}"

    @cached_property
    def libraries(self) -> list[str]:
        """Install names of the libraries that it is loaded with, in the order of their ordinals."""
        return self._command_strings(*LC_LOADED_LIBRARIES)

    @cached_property
    def rpaths(self) -> list[str]:
        """Where @rpath is looked for."""
        return self._command_strings(LC_RPATH)

    @cached_property
    def imports(self) -> list[Import]:
        """Its undefined symbols."""
        symbols, _, strings, _ = self._fields(LC_SYMTAB, "<4I")
        first, count = self._fields(LC_DYSYMTAB, "<6I")[4:6]
        found = []
        for index in range(first, first + count):
            name, _, _, description, _ = struct.unpack_from("<IBBHQ", self._data, symbols + 16 * index)
            ordinal = description >> 8
            found.append(
                Import(
                    self._text(strings + name),
                    None if ordinal == DYNAMIC_LOOKUP_ORDINAL else self.libraries[ordinal - 1],
                    bool(description & N_WEAK_REFERENCE),
                )
            )
        return found

    @cached_property
    def exports(self) -> set[str]:
        """The symbols that a loader, and dlsym, find in it: those of its export trie."""
        trie = self._fields(LC_DYLD_EXPORTS_TRIE, "<2I")
        if not trie:
            for offset, _ in self._commands(*LC_DYLD_INFO):
                trie = struct.unpack_from("<2I", self._data, offset + 40)
        return set(self._trie_symbols(trie[0])) if trie and trie[1] else set()

    def _trie_symbols(self, start: int) -> Iterator[str]:
        pending = [(start, b"")]
        while pending:
            node, prefix = pending.pop()
            size, position = self._uleb128(node)
            if size:
                yield prefix.decode()
            position += size
            children = self._data[position]
            position += 1
            for _ in range(children):
                end = self._data.index(b"\0", position)
                offset, next_position = self._uleb128(end + 1)
                pending.append((start + offset, prefix + self._data[position:end]))
                position = next_position

    def _uleb128(self, position: int) -> tuple[int, int]:
        """The number at this position, and the position after it."""
        value = shift = 0
        while True:
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, position

    def section(self, segment: str, name: str) -> tuple[int, int]:
        """Offset and size of a section in the file.

        Raises:
            KeyError: There is no such section.
        """
        for command, _ in self._commands(LC_SEGMENT_64):
            (count,) = struct.unpack_from("<I", self._data, command + 64)
            for index in range(count):
                header = struct.unpack_from("<16s16sQQI", self._data, command + 72 + 80 * index)
                if (header[1].rstrip(b"\0"), header[0].rstrip(b"\0")) == (segment.encode(), name.encode()):
                    return header[4], header[3]
        raise KeyError(f"{segment},{name}")

    @cached_property
    def strings(self) -> set[str]:
        """Its string literals."""
        offset, size = self.section("__TEXT", "__cstring")
        return set(self._data[offset : offset + size].decode(errors="replace").split("\0"))

    def signed_pages(self) -> tuple[int, int]:
        """How many pages the code signature covers, and how many of them have the hash that it states.

        Raises:
            ValueError: There is no signature, it does not cover the code, or it uses another hash than SHA-256.
        """
        location = self._fields(LC_CODE_SIGNATURE, "<2I")
        if not location:
            raise ValueError("no code signature")
        start = location[0]
        magic, _, count = struct.unpack_from(">3I", self._data, start)
        slots = dict(struct.unpack_from(">2I", self._data, start + 12 + 8 * index) for index in range(count))
        if magic != SIGNATURE_MAGIC or CODE_DIRECTORY_SLOT not in slots:
            raise ValueError("the code signature has no code directory")
        directory = start + slots[CODE_DIRECTORY_SLOT]
        hashes, pages, limit = (struct.unpack_from(">I", self._data, directory + at)[0] for at in (16, 28, 32))
        hash_size, hash_kind, _, page_shift = struct.unpack_from("4B", self._data, directory + 36)
        page_size = 1 << page_shift
        if hash_kind != HASH_SHA256 or limit != start or pages != -(-limit // page_size):
            raise ValueError("the code signature does not cover the code")
        right = 0
        for page in range(pages):
            stated = directory + hashes + hash_size * page
            digest = hashlib.sha256(self._data[page * page_size : min((page + 1) * page_size, limit)]).digest()
            right += digest[:hash_size] == self._data[stated : stated + hash_size]
        return pages, right
