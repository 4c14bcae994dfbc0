// What the compiler's hooks tell the memory check.
#pragma once
#include <cstddef>

namespace simulator::memory_check {

enum class Access { read, write, atomic };

// Called before a kernel's access; pc is the return address of the hook.
void note_access(const void* address, size_t size, Access access, const void* pc);

}  // namespace simulator::memory_check
