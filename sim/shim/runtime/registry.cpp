#include "registry.h"

#include <cstring>
#include <new>
#include <vector>

#include "exported.h"

namespace simulator {
namespace {

std::vector<MslKernel> kernels;
std::vector<MslConstant> constants;

}  // namespace

const MslKernel& find_kernel(std::string_view name) {
  size_t i = 0;
  while (kernels[i].name != name) i++;
  return kernels[i];
}

void compute_constants() {
  for (const MslConstant& constant : constants)
    if (constant.init) constant.init();
}

bool is_enabled(const MslParam& parameter) { return !parameter.cond || *parameter.cond; }

}  // namespace simulator

using namespace simulator;

extern "C" {

void msl_rt_kernel(const MslKernel* kernel) { kernels.push_back(*kernel); }
void msl_rt_constant(const MslConstant* constant) { constants.push_back(*constant); }

// To be called first, once: what the library has. False: there is no memory for it.
EXPORTED bool msl_describe(const MslKernel** all_kernels, uint32_t* kernel_count, const MslConstant** all_constants,
                           uint32_t* constant_count) try {
  msl_register();
  *all_kernels = kernels.data();
  *kernel_count = uint32_t(kernels.size());
  *all_constants = constants.data();
  *constant_count = uint32_t(constants.size());
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

EXPORTED void msl_reset_constants() {
  for (const MslConstant& constant : constants) {
    if (constant.index < 0) continue;
    memset(constant.value, 0, constant.size);
    *constant.defined = false;
  }
}

EXPORTED void msl_set_constant(int index, const void* value, size_t size) {
  for (const MslConstant& constant : constants) {
    if (constant.index != index || constant.size != size) continue;
    memcpy(constant.value, value, size);
    *constant.defined = true;
  }
}

}  // extern "C"
