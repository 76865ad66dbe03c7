FROM base
RUN set -e; test -z "$TARGETOS"; test -z "$BUILDKIT_SANDBOX_HOSTNAME"
