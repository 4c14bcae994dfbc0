// With -fsanitize=alignment,bounds,integer-divide-by-zero the compiler checks these and calls a function where a check
// fails. These are those functions, in place of libubsan; the layout of their arguments is LLVM's
// (compiler-rt/lib/ubsan/ubsan_handlers.h), which GCC keeps too.
#include <cstdint>

#include "buffers.h"
#include "report.h"
#include "threads.h"

namespace {

struct SourceLocation {
  const char* file;
  uint32_t line, column;
};
struct TypeDescriptor {
  uint16_t kind, information;
  char name[1];  // goes on; in quotes
};
struct TypeMismatch {
  SourceLocation location;
  const TypeDescriptor* type;
  unsigned char alignment_log2, check_kind;
};
struct OutOfBounds {
  SourceLocation location;
  const TypeDescriptor *array, *index;
};
struct Overflow {
  SourceLocation location;
  const TypeDescriptor* type;
};

[[noreturn]] void fail_at(const SourceLocation& location, const std::string& what, const std::string& details = "") {
  simulator::fail(simulator::format("%s at %s:%u", what.c_str(), location.file, location.line), details);
}

}  // namespace

extern "C" {

void __ubsan_handle_type_mismatch_v1(const TypeMismatch* mismatch, const void* address) {
  const unsigned alignment = 1u << mismatch->alignment_log2;
  const auto misalignment = unsigned(reinterpret_cast<uintptr_t>(address) % alignment);
  if (!misalignment) fail_at(mismatch->location, "null pointer");
  fail_at(mismatch->location,
          simulator::format("misaligned access: an address %u past a multiple of %u is used as %s", misalignment,
                            alignment, mismatch->type->name),
          simulator::describe_place(address));
}

void __ubsan_handle_out_of_bounds(const OutOfBounds* bounds, uintptr_t index) {
  fail_at(bounds->location, simulator::format("index %ld out of bounds of %s", long(index), bounds->array->name));
}

void __ubsan_handle_divrem_overflow(const Overflow* overflow, uintptr_t, uintptr_t) {
  fail_at(overflow->location, "integer division by zero");
}

}  // extern "C"
