// Large outputs, whose memory costs more than what is computed.
#pragma once

#include <cstdint>

namespace fusedops::cpu {

// To be called on a new output before anything is written to it. Fresh memory is mapped page by page as it is first
// touched, which costs more than the operators themselves; where the system leaves the choice, a large output gets huge
// pages.
void prepare_output(void* data, int64_t bytes);

// Whether outputs are better written past the caches, by the bytes of all inputs and outputs: where these do not fit in
// the caches, an output's lines would be read from memory only to be overwritten, and be gone before anybody reads
// them.
bool write_past_caches(int64_t moved_bytes);

}  // namespace fusedops::cpu
