// The log of a launch: findings with the number of times that each was made.
#pragma once
#include <string>

namespace simulator {

enum class Severity {
  warning,
  error,
  fatal,  // an error after which the launch cannot go on
};

// Findings with the same text are one; details are those of the first.
void report(Severity severity, const std::string& text, const std::string& details = "");

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);

void report_no_memory();  // a fatal finding that takes none

bool must_stop();  // after a fatal finding
void clear_log();
std::string log_text();  // a line for each finding

}  // namespace simulator
