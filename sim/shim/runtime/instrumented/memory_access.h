// What the compiler's hooks tell the observer.
#pragma once
#include <cstddef>

namespace simulator::observer {

enum class Access { read, write, atomic_read, atomic_write };

// Called before a kernel's access; pc is the return address of the hook.
void note_access(const void* address, size_t size, Access access, const void* pc);

}  // namespace simulator::observer
