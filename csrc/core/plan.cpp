#include "core/plan.h"

#include <algorithm>
#include <stdexcept>

#include "core/kernel_sources.h"

namespace fusedops {
namespace {

std::string_view source_text(const std::string& name) {
  for (const KernelSource& source : kernel_sources())
    if (source.name == name) return source.text;
  throw std::logic_error("there is no metal/" + name + ".metal");
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

}  // namespace

std::string Launch::name() const {
  return template_arguments.empty() ? kernel : kernel + "_" + joined(template_arguments, "_");
}

std::string Launch::text() const {
  const std::string instance = kernel + "<" + joined(template_arguments, ", ") + ">";
  return std::string(source_text(source)) + "\ntemplate [[host_name(\"" + name() + "\")]] [[kernel]] decltype(" +
         instance + ") " + instance + ";\n";
}

std::string metal_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float";
    case DType::float16:
      return "half";
    case DType::bfloat16:
      return "bfloat";
    default:
      throw std::logic_error("kernels do not take " + std::string(name_of(dtype)));
  }
}

}  // namespace fusedops
