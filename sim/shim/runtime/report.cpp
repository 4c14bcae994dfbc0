#include "report.h"

#include <cstdarg>
#include <cstdio>
#include <map>

namespace simulator {
namespace {

struct Finding {
  std::string details;
  int count = 0;
};
std::map<std::string, Finding> findings;
bool stop;

}  // namespace

void report(Severity severity, const std::string& text, const std::string& details) {
  if (severity == Severity::fatal) stop = true;
  Finding& finding = findings[(severity == Severity::warning ? "warning: " : "error: ") + text];
  if (finding.count++ == 0) finding.details = details;
}

std::string format(const char* pattern, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, pattern);
  vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

bool must_stop() { return stop; }

void clear_log() {
  findings.clear();
  stop = false;
}

std::string log_text() {
  std::string text;
  for (const auto& [what, finding] : findings) {
    text += what + finding.details;
    if (finding.count > 1) text += " (x" + std::to_string(finding.count) + ")";
    text += "\n";
  }
  return text;
}

}  // namespace simulator
