#!/usr/bin/env bash
# Makes LLVM 19's programs of a Debian 13 tree run outside of it, on a machine whose distribution has none: FOLDER gets a
# script for each that starts it with the tree's own loader and libraries.
#
# Usage: wrap_llvm.sh ROOT FOLDER
set -euo pipefail
root=$(cd "${1:?usage: wrap_llvm.sh ROOT FOLDER}" && pwd)
folder=${2:?usage: wrap_llvm.sh ROOT FOLDER}
mkdir -p "$folder"
for program in clang opt llvm-spirv; do
  target=$root/usr/lib/llvm-19/bin/$program
  [ -e "$target" ] || target=$root/usr/bin/$program-19
  cat > "$folder/$program-19" << EOF
#!/bin/sh
exec "$root/lib64/ld-linux-x86-64.so.2" \\
  --library-path "$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/llvm-19/lib" "$target" "\$@"
EOF
  chmod +x "$folder/$program-19"
done
