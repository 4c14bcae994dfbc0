// What differs between operating systems and processors: page size, signal contexts, the extent of a loaded library.
#pragma once
#include <cstddef>

namespace simulator {

size_t page_size();

// Makes the thread that a signal interrupted go on in `entry`, on the stack that ends at `end`.
void resume_in(void* signal_context, void (*entry)(), char* end);

// Whether the bytes are code or data of this library, which holds the kernels and their constants.
bool in_this_library(const void* address, size_t size);

// The address's offset in this library, as symbolizers take it.
size_t offset_in_library(const void* address);

}  // namespace simulator
