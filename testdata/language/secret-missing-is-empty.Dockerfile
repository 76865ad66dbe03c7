FROM base
RUN --mount=type=secret,id=nope ! test -e /run/secrets/nope
RUN --mount=type=secret,id=nope,env=NOPE test -z "$NOPE"
