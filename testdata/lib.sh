# shellcheck shell=sh
# Shared by the scripts of this folder: where the state lives, and how a package gets installed.
# Source it; it only defines things.

testdata=$(cd "$(dirname "$0")" && while [ ! -f lib.sh ]; do cd ..; done && pwd)
repo=$(dirname "$testdata")
# Everything the tests need that outlives one run: bases, servers' storage, the binary under test.
# World-readable, since the tests run kiln as other users.
state=${KILN_TEST_STATE:-/var/tmp/kiln-test}

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# install PROGRAM:PACKAGE... - installs the packages whose programs are missing; a word without a
# colon is a package that brings no program. Needs root only when something is missing.
install() {
	missing=
	for pair in "$@"; do
		case $pair in
		*:*) command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair#*:}" ;;
		*) dpkg-query -W -f='${Status}' "$pair" 2>/dev/null | grep -q 'ok installed' || missing="$missing $pair" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "missing packages; run: sudo apt-get install --no-install-recommends$missing"
	say "installing:$missing"
	[ -n "${apt_updated:-}" ] || { apt-get update -qq >&2 || true; apt_updated=1; }
	no_services
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null >&2 ||
		{ services_again; die "apt-get could not install:$missing"; }
	services_again
}

# A package that brings a server must not start it: the tests start their own, on their own ports.
no_services() {
	[ -e /usr/sbin/policy-rc.d ] && return 0
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 0755 /usr/sbin/policy-rc.d
	policy_is_ours=1
}
services_again() { [ -z "${policy_is_ours:-}" ] || rm -f /usr/sbin/policy-rc.d; policy_is_ours=; }
