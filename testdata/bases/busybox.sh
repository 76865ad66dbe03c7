#!/bin/sh
# busybox.sh TAR - writes a root filesystem of one static busybox and its applets to TAR. Needs no
# root: the package is fetched into private apt folders and taken apart, not installed.
set -eu
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
tar=$1
[ -f "$tar" ] && exit 0

work=$(mktemp -d "$(dirname "$tar")/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root/bin" "$work/root/etc" "$work/root/tmp" "$work/root/root"
fetch() { (cd "$work" && apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@" </dev/null >&2); }
fetch download busybox-static 2>/dev/null || {
	# No package lists on this machine yet: read them into our own folder.
	set -- -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache"
	fetch "$@" update && fetch "$@" download busybox-static ||
		die "apt could not fetch busybox-static; check this machine's apt sources"
}
dpkg-deb --fsys-tarfile "$work"/busybox-static_*.deb | tar -xf - -C "$work" --strip-components=0
busybox=$work/bin/busybox
[ -x "$busybox" ] || busybox=$work/usr/bin/busybox
cp "$busybox" "$work/root/bin/busybox"
for applet in $("$busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$work/root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/root/etc/group"
chmod 0755 "$work/root" "$work"/root/*
chmod 1777 "$work/root/tmp"
tar -cf "$work/rootfs.tar" -C "$work/root" --sort=name --owner=0 --group=0 --numeric-owner \
	--mtime=@1600000000 --format=posix --pax-option=delete=atime,delete=ctime .
mv "$work/rootfs.tar" "$tar"
