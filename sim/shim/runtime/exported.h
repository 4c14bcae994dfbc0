// Marks what sim/run/library.py calls; everything else in the library is hidden.
#pragma once
#define EXPORTED __attribute__((visibility("default")))
