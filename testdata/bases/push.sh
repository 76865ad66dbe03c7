#!/bin/sh
# push.sh TAR REGISTRY/NAME:TAG [umoci config option...] - makes an image of one layer out of a root
# filesystem's tar with umoci and pushes it with skopeo, unless the registry has the tag already.
# Nothing of kiln takes part: the bases must not share its mistakes.
set -eu
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
tar=$1 image=$2
shift 2
if skopeo --insecure-policy inspect --raw --tls-verify=false "docker://$image" >/dev/null 2>&1; then exit 0; fi

work=$(mktemp -d "$state/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
umoci init --layout "$work/layout"
umoci new --image "$work/layout:base"
umoci raw add-layer --image "$work/layout:base" --history.created_by "rootfs of ${image##*/}" \
	--history.created 2020-09-13T12:26:40Z "$tar"
umoci config --image "$work/layout:base" --created 2020-09-13T12:26:40Z --no-history \
	--config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$work/layout:base" "docker://$image"
say "pushed $image"
