#!/usr/bin/env bash
# libbpf-rs 0.27.2, its features `static` and `vendored-libbpf` (the default).
#
# One would expect: libbpf is built once, for the processor that the program is for; with `static`, that build alone looks for static
# libraries.
#
# What happens: libbpf is built a second time, for the machine that builds, with the same features. So a program for another processor
# with `static` also takes libelf.a and libz.a of this machine, where nothing is linked with them. libbpf-rs has libbpf-sys twice, as a
# dependency and as an optional build dependency, for its test files; a feature of Cargo's that is named `libbpf-sys/static` means both,
# and turns the optional one on.
#
# What helps: `default-features = false`, and a direct dependency on libbpf-sys with the features.
#
# In: cargo, a registry of crates. Out: the copies of libbpf-sys in both ways; status 1 if that has changed.
set -euo pipefail

directory=$(mktemp -d)
trap 'rm -r "$directory"' EXIT
cd "$directory"
mkdir src
echo 'fn main() {}' >src/main.rs

# In: lines of dependencies. Out: the features of libbpf-sys where libbpf-rs has it as a build dependency.
for_this_machine() {
    printf '%s\n' '[package]' 'name = "finding"' 'version = "0.0.0"' 'edition = "2021"' '[dependencies]' "$@" >Cargo.toml
    rm -f Cargo.lock
    # Below the line without an indent are those of libbpf-rs itself.
    cargo tree --quiet --target aarch64-unknown-linux-gnu --package libbpf-rs --edges normal,build --depth 1 --charset ascii \
        --format '{p} features: {f}' | sed -n '/^\[build-dependencies\]/,$ s/^.-- \(libbpf-sys .*\)/\1/p'
}

echo "as a build dependency of libbpf-rs =0.27.2 with the feature static:"
with=$(for_this_machine 'libbpf-rs = { version = "=0.27.2", features = ["static"] }')
echo "    ${with:-none}"
echo "as one of libbpf-rs =0.27.2 without features, beside libbpf-sys with the feature static:"
beside=$(for_this_machine 'libbpf-rs = { version = "=0.27.2", default-features = false }' \
    'libbpf-sys = { version = "=1.7.0", features = ["static"] }')
echo "    ${beside:-none}"

[[ $with == *static-libelf* && -z $beside ]] || { echo "this has changed" && exit 1; }
