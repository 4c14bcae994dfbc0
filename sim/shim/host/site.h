// Where in the Metal text a call stands.
#pragma once

namespace metal::detail {
struct Site {
  const char* file;
  uint32_t line;
  // As a default argument this is the place of the call that leaves the argument out.
  static constexpr Site current(const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
    return {file, line};
  }
};

inline void warn(const char* what, Site site) { msl_rt_warn(what, site.file, site.line); }
}  // namespace metal::detail
