#!/bin/sh
# figures.sh KILN - how long kiln takes to say why, to open a shell, to count a large store, and to carry a cache. Prints the median of
# eleven runs of each. Needs a base image with a shell in BASE (default: busybox of the registry in KILN_TEST_REGISTRY); everything it
# makes is in WORK (default /var/tmp/kiln-figures), which it removes at its end.
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
install time:time
kiln=$(command -v "$1") || die "usage: figures.sh KILN"
base=${BASE:-$KILN_TEST_REGISTRY/busybox:1.35}
work=${WORK:-/var/tmp/kiln-figures}
[ ! -e "$work" ] || die "$work is there already"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/context"
echo text >"$work/context/file"

# once COMMAND... - its time in microseconds.
once() {
	began=$(date +%s%N)
	"$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$* failed"; }
	echo $((($(date +%s%N) - began) / 1000))
}

# figure NAME COMMAND... - the median of eleven.
figure() {
	name=$1
	shift
	for _ in 1 2 3 4 5 6 7 8 9 10 11; do once "$@"; done | sort -n | sed -n 6p | awk -v name="$name" '{ printf "%-46s %9.1f ms\n", name, $1 / 1000 }'
}

# twenty NAME - a Dockerfile of twenty steps.
twenty() {
	echo "FROM $base"
	echo "COPY file /file"
	i=1
	while [ $i -lt 20 ]; do
		echo "RUN echo $1 >> /file$i"
		i=$((i + 1))
	done
}

build() {
	store=$1
	shift
	"$kiln" --root "$work/$store" build --progress quiet "$@" "$work/context"
}

echo "a build of 20 steps, done before:"
for past in 1 2 3 4 5; do
	twenty $past >"$work/context/Dockerfile"
	build small
done
figure "  cached build" build small
figure "  build --dry-run" build small --dry-run
build small
figure "  why (all hits)" "$kiln" --root "$work/small" why
twenty other >"$work/context/Dockerfile"
build small
figure "  why (19 steps that ran)" "$kiln" --root "$work/small" why
figure "  shell --after 20 -- true" "$kiln" --root "$work/small" shell --after 20 -- true

# Stages of one COPY each: an index, a blob or tree, and records of every one.
stages() {
	i=$(($1 * 500))
	while [ $i -lt $((($1 + 1) * 500)) ]; do
		printf 'FROM scratch AS s%s\nCOPY file /d%s/file\n' $i $i
		i=$((i + 1))
	done
	echo "FROM scratch"
	i=$(($1 * 500))
	while [ $i -lt $((($1 + 1) * 500)) ]; do
		printf 'COPY --from=s%s / /from%s/\n' $i $i
		i=$((i + 1))
	done
}

round=0
while [ "$(find "$work/large" -type f 2>/dev/null | wc -l)" -lt 100000 ]; do
	stages $round >"$work/context/Dockerfile"
	build large -t "image$round"
	round=$((round + 1))
done
echo "a store of $(find "$work/large" -type f | wc -l) files after $round builds of 1000 steps:"
figure "  du" "$kiln" --root "$work/large" du
figure "  prune --dry-run" "$kiln" --root "$work/large" prune --dry-run
figure "  cached build of 1000 steps" build large

# shellcheck disable=SC2016
printf 'FROM %s\nRUN mkdir /t && cd /t && for d in $(seq 1 100); do mkdir $d && for f in $(seq 1 1000); do : > $d/$f; done; done\n' "$base" >"$work/context/Dockerfile"
build wide
echo "a store with a tree of 100000 files:"
figure "  du" "$kiln" --root "$work/wide" du

printf 'FROM %s\nCOPY file /\nRUN dd if=/dev/urandom of=/big bs=1M count=256 2>/dev/null\nRUN sleep 5; sha256sum /big > /sum\n' "$base" >"$work/context/Dockerfile"
# carry NAME COMMAND... - one run's time, and the most memory that it took.
carry() {
	name=$1
	shift
	/usr/bin/time -o "$work/measured" -f '%e %M' "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$* failed"; }
	awk -v name="$name" '{ printf "%-46s %9.2f s %6.0f MB\n", name, $1, $2 / 1000 }' "$work/measured"
}

kept="$kiln build --progress quiet -t big"
to="type=local,dest=$work/carried,mode=max"
from="type=local,src=$work/carried"
echo "256 MiB and a step of 5 s, carried in a directory:"
# shellcheck disable=SC2086
{
	carry "  build, nothing cached" $kept --root "$work/first" "$work/context"
	carry "  cached, with --cache-to" $kept --root "$work/first" --cache-to "$to" "$work/context"
	carry "  again, with nothing new" $kept --root "$work/first" --cache-to "$to" "$work/context"
	carry "  --cache-from, empty store, image kept" $kept --root "$work/second" --cache-from "$from" "$work/context"
	carry "  --cache-from, empty store, nothing kept" $kiln build --progress quiet --root "$work/third" --cache-from "$from" "$work/context"
}
