# macOS on Apple silicon, from Linux. FUSEDOPS_MACOS_BIN holds the tools that build_wheel.py wrote; it is an environment
# variable because CMake reads this file again for each of its probes, without the variables of the command line.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_OSX_SYSROOT "" CACHE STRING "")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # no program is linked: the stubs hold what modules need

set(CMAKE_CXX_COMPILER "$ENV{FUSEDOPS_MACOS_BIN}/c++")
set(CMAKE_AR "$ENV{FUSEDOPS_MACOS_BIN}/ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "$ENV{FUSEDOPS_MACOS_BIN}/ranlib" CACHE FILEPATH "")

# A later change of rpaths would break the signature that the linker writes, so the linker writes the final ones. CMake
# wants to have found the tool that would change them all the same.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_NAME_TOOL "$ENV{FUSEDOPS_MACOS_BIN}/install_name_tool" CACHE FILEPATH "")
