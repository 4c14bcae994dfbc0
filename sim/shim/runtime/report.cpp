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
bool stop, no_memory;

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

void report_no_memory() { stop = no_memory = true; }

bool must_stop() { return stop; }

void clear_log() {
  findings.clear();
  stop = no_memory = false;
}

std::string log_text() {
  std::string text = no_memory ? "error: no memory for the simulator itself\n" : "";
  for (const auto& [what, finding] : findings) {
    text += what + finding.details;
    if (finding.count > 1) text += " (x" + std::to_string(finding.count) + ")";
    text += "\n";
  }
  return text;
}

}  // namespace simulator
