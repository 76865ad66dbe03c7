#!/bin/sh
# all.sh REGISTRY - every base image of the tests, made once per machine (under the state folder) and
# pushed to REGISTRY.
set -eu
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
registry=$1
here=$testdata/bases
mkdir -p "$state/bases"

"$here/busybox.sh" "$state/bases/busybox.tar"
"$here/debian.sh" debian "$state/bases/debian.tar"
"$here/debian.sh" golang "$state/bases/golang.tar" golang-go
"$here/debian.sh" python "$state/bases/python.tar" python3 python3-venv

"$here/push.sh" "$state/bases/busybox.tar" "$registry/busybox:1.35" --config.cmd sh
"$here/push.sh" "$state/bases/debian.tar" "$registry/debian:12" --config.cmd bash
"$here/push.sh" "$state/bases/golang.tar" "$registry/golang:1.19" --config.cmd bash \
	--config.env GOPATH=/go --config.env GOTOOLCHAIN=local --config.env GO111MODULE=auto
"$here/push.sh" "$state/bases/python.tar" "$registry/python:3.11" --config.cmd python3
