#!/bin/sh
# debian.sh NAME TAR [PACKAGE...] - writes the root filesystem of a small Debian with apt inside (and
# the packages) to TAR. It is of this machine's own release and from its own mirrors: apt inside
# a RUN must work wherever the tests run, so sources, CAs and pip's settings are the machine's.
set -eu
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
name=$1 tar=$2
shift 2
[ -f "$tar" ] && exit 0
[ "$(id -u)" = 0 ] || die "makes a root filesystem with its real owners: run as root"
install mmdebstrap:mmdebstrap

work=$(mktemp -d "$state/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
apt-get update -qq >&2 || true
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
	awk -v c="$codename" '$2 == c || index($2, c "-") == 1 { print "deb", $1, $2, $3 }' |
	sort -u >"$work/sources.list"
[ -s "$work/sources.list" ] || die "no Debian sources are set up for apt on this machine"
# How this machine reaches its mirror: proxies, checks of dates.
apt-config dump 2>/dev/null | grep '^Acquire::\(http\|https\|Check\|Retries\)' >"$work/apt.conf" || true

include=ca-certificates
for package in "$@"; do include=$include,$package; done
say "making the $name base ($include)"
TMPDIR=$work mmdebstrap --mode=root --variant=apt --include="$include" --aptopt="$work/apt.conf" \
	--aptopt='Apt::Install-Recommends "false"' --quiet \
	--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/apt "$1"/var/log/*.log' \
	--customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname' \
	--customize-hook='cp -L /etc/ssl/certs/ca-certificates.crt "$1"/etc/ssl/certs/ca-certificates.crt' \
	--customize-hook='[ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$1"/etc/pip.conf' \
	"$codename" "$work/rootfs.tar" - <"$work/sources.list" >&2
mv "$work/rootfs.tar" "$tar"
