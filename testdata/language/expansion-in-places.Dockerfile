ARG TAG=base
FROM $TAG
ENV DIR=/w VER=1.2.3 U=0
WORKDIR ${DIR}/x
COPY f${UNSET}ile ${DIR}/${VER%.*}/
USER $U:$U
RUN set -e; test -f /w/1.2/file; test "$(pwd)" = /w/x; test "$(id -u)" = 0
