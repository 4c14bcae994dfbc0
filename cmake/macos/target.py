"""The platform that the wheel is for: the oldest macOS that MLX's and PyTorch's own wheels run on."""

import sys

MACHINE = "arm64"
DEPLOYMENT_TARGET = "14.0"
PLATFORM = f"macosx-{DEPLOYMENT_TARGET}-{MACHINE}"
WHEEL_PLATFORM = PLATFORM.replace("-", "_").replace(".", "_")

# What the markers of requirements are evaluated with.
DARWIN = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": MACHINE}

# The version of Python is the one that runs the build.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SOABI = f"cpython-{PYTHON.replace('.', '')}-darwin"
MODULE_SUFFIX = f".{SOABI}.so"
