// Device buffers between guard pages. A buffer ends at unmapped memory, but for up to 15 bytes of slack that its
// alignment costs; what is written into the slack, or into the rest of the first page, is found afterwards.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace simulator {

struct Buffer {
  char* mapping;
  size_t mapping_size;
  char* data;
  size_t size;
  bool surrounds(const void* address) const {
    const char* p = static_cast<const char*>(address);
    return p >= mapping && p < mapping + mapping_size;
  }
};

const std::vector<Buffer>& buffers();

// ": byte offset 260 of buffer(0), which has 256 bytes", or nothing when the address is near no bound buffer.
std::string describe_place(const void* address);

void check_surroundings();  // reports writes just outside a buffer that is bound

}  // namespace simulator
