// AMX's tile registers, whose use has to be asked for.
#pragma once

namespace fusedops::cpu {

// Whether this process may from now on use tiles of bfloat16, in all its threads and forked children.
bool enable_bfloat16_tiles();

}  // namespace fusedops::cpu
