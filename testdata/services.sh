#!/bin/sh
# services.sh start|stop - the servers that the tests talk to: Debian's docker-registry, open and with a
# password, on free loopback ports, and two Docker daemons of their own, this Debian's and a later one.
# `start` writes $state/run/env for the tests; `stop` ends what `start` began, by process id.
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
run=$state/run

# registry NAME [YAML] - starts a registry, prints its address. The port is the kernel's choice; the log tells.
registry() {
	name=$1 extra=${2:-}
	mkdir -p "$state/$name"
	cat >"$run/$name.yml" <<YML
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $state/$name}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
$extra
YML
	setsid docker-registry serve "$run/$name.yml" </dev/null >"$run/$name.log" 2>&1 &
	echo $! >"$run/$name.pid"
	wait_for "$name" grep -q 'listening on' "$run/$name.log"
	sed -n 's/.*listening on \([0-9.:]*\).*/\1/p' "$run/$name.log" | head -n 1
}

# wait_for WHAT COMMAND... - until COMMAND succeeds, 30 s at most.
wait_for() {
	what=$1 tries=300
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { tail -n 20 "$run/$what.log" >&2; die "$what did not start, see $run/$what.log"; }
		sleep 0.1
	done
}

password() {
	# bcrypt, which is all that docker-registry reads; perl-base is on every Debian.
	perl -e 'print "kiln:" . crypt("s3cret", q($2b$05$abcdefghijklmnopqrstuu)) . "\n"' >"$run/htpasswd"
}

docker_daemon() {
	# No bridge and no firewall rules: containers of the tests use the host's network, and nothing
	# of the machine's own network is touched.
	PATH=$PATH:/usr/sbin setsid dockerd --host "unix://$run/docker.sock" --data-root "$state/docker" \
		--exec-root "$run/docker-exec" --pidfile "$run/dockerd.pid" --iptables=false --ip6tables=false \
		--bridge=none --ip-forward=false </dev/null >"$run/dockerd.log" 2>&1 &
	wait_for dockerd docker -H "unix://$run/docker.sock" version
}

# The daemon of a later Debian, in a root filesystem of its own, which must be a mount for what dockerd does in there.
later_docker_daemon() {
	"$testdata/bases/later-docker.sh" "$state/later" || die "no root filesystem with a later Docker could be made"
	mkdir -p "$run/later" "$state/later/run/kiln" "$state/later-data"
	# shellcheck disable=SC2016
	setsid unshare --mount --propagation private sh -c '
		mount --bind "$1" "$1"
		for dir in proc sys dev; do mount --rbind "/$dir" "$1/$dir"; done
		mkdir -p "$1/var/lib/docker"
		mount --bind "$2" "$1/run/kiln"
		mount --bind "$3" "$1/var/lib/docker"
		exec chroot "$1" /usr/sbin/dockerd --host unix:///run/kiln/docker.sock --pidfile /run/kiln/dockerd.pid \
			--exec-root /run/kiln/exec --iptables=false --ip6tables=false --bridge=none --ip-forward=false' \
		sh "$state/later" "$run/later" "$state/later-data" </dev/null >"$run/later-dockerd.log" 2>&1 &
	echo $! >"$run/later-dockerd.pid"
	wait_for later-dockerd docker -H "unix://$run/later/docker.sock" version
}

start() {
	stop
	mkdir -p "$run"
	chmod 0755 "$state" "$run"
	password
	open=$(registry registry)
	locked=$(registry registry-locked "auth: {htpasswd: {realm: kiln-test, path: $run/htpasswd}}")
	docker_daemon
	later_docker_daemon
	cat >"$run/env" <<ENV
KILN_TEST_REGISTRY=$open
KILN_TEST_LOCKED_REGISTRY=$locked
KILN_TEST_DOCKER_HOST=unix://$run/docker.sock
KILN_TEST_LATER_DOCKER_HOST=unix://$run/later/docker.sock
ENV
	say "registry $open, with password $locked, dockerd on $run/docker.sock and $run/later/docker.sock"
}

stop() {
	for pidfile in "$run"/*.pid; do
		[ -f "$pidfile" ] || continue
		pid=$(cat "$pidfile")
		# Only a process that is still the server we started: numbers are used again.
		if grep -qE 'docker-registry|dockerd' "/proc/$pid/cmdline" 2>/dev/null; then
			kill "$pid"
			tries=100
			while [ -d "/proc/$pid" ] && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
		fi
		rm -f "$pidfile"
	done
	# What dockerd leaves mounted when it ends.
	! mountpoint -q "$run/docker-exec/netns/default" 2>/dev/null || umount "$run/docker-exec/netns/default"
	rm -f "$run/env"
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) die "usage: services.sh start|stop" ;;
esac
