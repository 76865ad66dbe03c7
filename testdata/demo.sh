#!/bin/sh
# demo.sh - builds kiln, makes a small base image with it, builds testdata/demo on top, and shows what came
# out. Needs Rust, a C compiler and Debian's apt; no root, no daemon, no image registry.
#   KILN_BIN        show this binary and build none
#   KILN_DEMO_DIR   where everything goes (default target/demo)
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
demo=${KILN_DEMO_DIR:-${CARGO_TARGET_DIR:-$repo/target}/demo}
kiln=${KILN_BIN:-}
if [ -z "$kiln" ]; then
	command -v cc >/dev/null 2>&1 || die "no C compiler; run: sudo apt-get install build-essential"
	command -v cargo >/dev/null 2>&1 || die "no cargo; install Rust (https://rustup.rs) or put ~/.cargo/bin into PATH"
	say "--- cargo build --release"
	cd "$repo"
	cargo build --release --locked -p kiln-cli
	kiln=${CARGO_TARGET_DIR:-$repo/target}/release/kiln
fi
mkdir -p "$demo/base"
export KILN_ROOT="$demo/store"
step() { printf '\n--- %s\n' "$*"; "$@"; }

step "$kiln" doctor

"$testdata/bases/busybox.sh" "$demo/base/busybox.tar"
printf 'FROM scratch\nADD busybox.tar /\nCMD ["sh"]\n' >"$demo/base/Dockerfile"
step "$kiln" build --output "type=oci,dest=$demo/base.oci,tar=false" "$demo/base"

image=$demo/demo.oci
set -- build -t demo --build-context "base=oci-layout://$demo/base.oci" --output "type=oci,dest=$image,tar=false" "$testdata/demo"
step "$kiln" "$@" --progress plain
say && say "the same again: every step is cached"
step "$kiln" "$@"

step "$kiln" verify "$image"
step "$kiln" inspect "$image"

# The image's own command, run in its own root filesystem.
rm -rf "$demo/rootfs"
step "$kiln" build --build-context "base=oci-layout://$demo/base.oci" --quiet \
	--output "type=local,dest=$demo/rootfs" "$testdata/demo"
if [ "$(id -u)" = 0 ]; then
	step chroot --userspec=1000:1000 "$demo/rootfs" /bin/hello
else
	step unshare --user --map-user=1000 --map-group=1000 --root="$demo/rootfs" /bin/hello
fi
say
say "The image: $image - try: skopeo copy oci:$image docker-daemon:demo:latest"
