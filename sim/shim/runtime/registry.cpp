#include "registry.h"

#include <cstring>
#include <map>
#include <vector>

#include "exported.h"

namespace simulator {
namespace {

struct Constant {
  int index;  // negative: computed by init
  std::string name;
  void* value;
  size_t size;
  bool* defined;
  void (*init)();
};

// Functions, because kernels register while the library's globals are being constructed.
std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
std::vector<Constant>& constants() {
  static std::vector<Constant> all;
  return all;
}

}  // namespace

const Kernel* find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

void compute_constants() {
  for (const Constant& constant : constants())
    if (constant.init) constant.init();
}

bool is_enabled(const MslParam& parameter) { return !parameter.cond || *parameter.cond; }

}  // namespace simulator

using namespace simulator;

extern "C" {

void msl_rt_kernel(const char* name, MslEntry entry, const MslParam* parameters, int count) {
  kernels()[name] = {entry, {parameters, size_t(count)}};
}

void msl_rt_constant(int index, const char* name, void* value, size_t size, bool* defined, void (*init)()) {
  constants().push_back({index, name, value, size, defined, init});
}

// Lines "kernel NAME PARAMETER:KIND:INDEX ..." and "constant NAME INDEX SIZE", with tabs between the words.
EXPORTED const char* msl_describe() {
  static std::string text;
  text.clear();
  for (const auto& [name, kernel] : kernels()) {
    text += "kernel\t" + name;
    for (const MslParam& p : kernel.parameters)
      text += "\t" + std::string(p.name) + ":" + std::to_string(p.kind) + ":" + std::to_string(p.index);
    text += "\n";
  }
  for (const Constant& c : constants())
    if (c.index >= 0)
      text += "constant\t" + c.name + "\t" + std::to_string(c.index) + "\t" + std::to_string(c.size) + "\n";
  return text.c_str();
}

EXPORTED void msl_reset_constants() {
  for (const Constant& constant : constants()) {
    if (constant.index < 0) continue;
    memset(constant.value, 0, constant.size);
    *constant.defined = false;
  }
}

EXPORTED void msl_set_constant(int index, const void* value, size_t size) {
  for (const Constant& constant : constants()) {
    if (constant.index != index || constant.size != size) continue;
    memcpy(constant.value, value, size);
    *constant.defined = true;
  }
}

}  // extern "C"
