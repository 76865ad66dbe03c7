#!/bin/sh
# later-docker.sh DIR - makes DIR the root filesystem of a later Debian with its Docker inside: a second
# daemon for the tests, since what `docker load` takes has changed between releases. It comes from this
# machine's own mirrors.
set -eu
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
dir=$1 codename=trixie
[ -d "$dir" ] && exit 0
[ "$(id -u)" = 0 ] || die "makes a root filesystem with its real owners: run as root"
install mmdebstrap:mmdebstrap

work=$(mktemp -d "$state/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
[ -n "$(apt-get indextargets 'Created-By: Packages' 'Origin: Debian')" ] || apt-get update -qq >&2 || true
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || die "no Debian sources are set up for apt on this machine"
apt-config dump 2>/dev/null | grep '^Acquire::\(http\|https\|Check\|Retries\)' >"$work/apt.conf" || true
say "making a Debian $codename with Docker from $mirror"
TMPDIR=$work mmdebstrap --mode=root --variant=minbase --include=docker.io,runc,containerd,ca-certificates \
	--aptopt="$work/apt.conf" --aptopt='Apt::Install-Recommends "false"' --quiet \
	"$codename" "$work/root" "deb $mirror $codename main" </dev/null >&2
mv "$work/root" "$dir"
