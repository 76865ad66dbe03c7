#!/bin/sh
# users.sh - makes the two ordinary users that the tests run kiln as, as root: `kiln-sub` with ranges of
# subordinate ids and `kiln-nosub` without. Running it again changes nothing.
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || die "run as root"

# A system account gets no range from useradd by itself, so both start without one.
for user in kiln-sub kiln-nosub; do
	getent passwd $user >/dev/null || useradd --system --create-home --shell /bin/sh $user
done
touch /etc/subuid /etc/subgid
sed -i '/^kiln-nosub:/d' /etc/subuid /etc/subgid

# The first id above every range that is already given away.
above() { awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { print top }' "$1"; }
if ! grep -q '^kiln-sub:' /etc/subuid; then
	first=$(above /etc/subuid)
	usermod --add-subuids "$first-$((first + 65535))" kiln-sub
fi
if ! grep -q '^kiln-sub:' /etc/subgid; then
	first=$(above /etc/subgid)
	usermod --add-subgids "$first-$((first + 65535))" kiln-sub
fi
