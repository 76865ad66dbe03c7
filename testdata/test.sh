#!/bin/sh
# test.sh [CARGO TEST ARGUMENT...] - every test of kiln, the black-box ones as root and as two ordinary
# users. Run as root on Debian 12 or newer: it installs the tools the tests compare with, makes the users,
# starts a registry and a Docker daemon of its own, and ends both.
#   KILN_BIN          test this binary and build none
#   KILN_TEST_STATE   where bases, servers' storage and the binary go (default /var/tmp/kiln-test)
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || die "needs root (for packages, test users and a Docker daemon); run: sudo -E $0"

install ssh-keygen:openssh-client cc:build-essential pkg-config:pkg-config libssl-dev curl:curl ca-certificates \
	busybox:busybox-static mmdebstrap:mmdebstrap zstd:zstd xz:xz-utils bzip2:bzip2 \
	newuidmap:uidmap setpriv:util-linux getcap:libcap2-bin \
	skopeo:skopeo umoci:umoci buildah:buildah podman:podman \
	docker-registry:docker-registry dockerd:docker.io runc:runc
mkdir -p "$state/bin"
chmod 0755 "$state" "$state/bin"
"$testdata/users.sh"

cd "$repo"
if [ -z "${KILN_BIN:-}" ]; then
	cargo build --release --locked -p kiln-cli
	KILN_BIN=${CARGO_TARGET_DIR:-target}/release/kiln
fi
# The users cannot be expected to reach into this folder.
cp -f "$KILN_BIN" "$state/bin/kiln.new"
chmod 0755 "$state/bin/kiln.new"
mv -f "$state/bin/kiln.new" "$state/bin/kiln"

trap '"$testdata/services.sh" stop' EXIT
trap 'exit 130' INT TERM
"$testdata/services.sh" start
set -a
# shellcheck disable=SC1091
. "$state/run/env"
set +a
"$testdata/bases/all.sh" "$KILN_TEST_REGISTRY"
export KILN_TEST_STATE="$state"

cargo test --workspace --locked --features kiln-testkit/system,kiln-torture/system --no-fail-fast "$@"
