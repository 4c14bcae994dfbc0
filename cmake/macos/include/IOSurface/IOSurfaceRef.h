// Stands in for the SDK's header: the part of it that metal-cpp needs.
#pragma once

typedef struct __IOSurface* IOSurfaceRef;
