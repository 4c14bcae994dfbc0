#!/usr/bin/env bash
# Builds Mesa's compiler for Apple's M1 and M2 GPUs as one program without dependencies: FOLDER/asahi_clc, or with --patch
# FOLDER/asahi_clc-matrix, which knows the matrix instruction (matrix_instruction.py). Needs Debian 13, a container or a
# chroot of it, as root; it installs packages there. docs/agx.md has the commands around it.
#
# Usage: build_compiler.sh FOLDER [--patch]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=25.0.7
folder=${1:?usage: build_compiler.sh FOLDER [--patch]}
patch=${2:-}
program=asahi_clc${patch:+-matrix}

grep -q '^VERSION_CODENAME=trixie' /etc/os-release || { echo "this is not Debian 13: see docs/agx.md" >&2; exit 1; }
sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/*.sources 2> /dev/null || true
if [ -s /etc/apt/sources.list ]; then
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > /etc/apt/sources.list.d/sources-of-packages.list
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends dpkg-dev gcc g++ meson ninja-build pkgconf bison flex glslang-tools \
  python3-mako python3-yaml python3-packaging python3-setuptools llvm-19-dev clang-19 libclang-19-dev \
  libclang-cpp19-dev libclc-19 libclc-19-dev libllvmspirvlib-19-dev llvm-spirv-19 spirv-tools zlib1g-dev libzstd-dev \
  libexpat1-dev libdrm-dev libelf-dev > /dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get source -qq --only-source mesa > /dev/null 2>&1
cd "mesa-$version"
[ -z "$patch" ] || python3 "$here/matrix_instruction.py" .

# b_ndebug: asahi_clc is for Mesa's own kernels and asserts that none of them spills. Unoptimised it builds four times as
# fast, and compiling a kernel takes it a second at most all the same.
PATH=$(llvm-config-19 --bindir):$PATH
meson setup ../build --buildtype=plain -Doptimization=0 -Db_ndebug=true -Dvulkan-drivers=asahi -Dgallium-drivers= \
  -Dtools=asahi -Dplatforms= -Dglx=disabled -Degl=disabled -Dgbm=disabled -Dopengl=false -Dgles1=disabled \
  -Dgles2=disabled -Dllvm=enabled -Dshared-llvm=enabled -Dvideo-codecs= -Dvalgrind=disabled -Dlibunwind=disabled \
  -Dlmsensors=disabled -Dzstd=disabled -Dxmlconfig=disabled > ../setup.log || { cat ../setup.log; exit 1; }
target=src/asahi/clc/asahi_clc
ninja -C ../build --quiet "$target"

# Linked once more, statically: Debian 13's C library is newer than that of many machines which the program is for.
cd ../build
link=$(ninja -t commands -s "$target")
rm "$target"
eval "${link//.so/.a} -static"
mkdir -p "$folder"
strip -o "$folder/$program" "$target"
echo "$folder/$program"
