// Stands in for the SDK's header: the part of it that metal-cpp needs.
#pragma once

#include <TargetConditionals.h>
#include <float.h>
#include <mach/mach.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifndef INFINITY  // zig 0.17 loses it where <float.h> comes before <math.h> and the standard is a strict one
#define INFINITY HUGE_VALF
#endif

typedef double CFTimeInterval;
