FROM base AS s
RUN mkdir /d && echo st > /d/f
FROM base
RUN --mount=target=/ctx test -f /ctx/file
RUN --mount=source=dir/inner,target=/one test -f /one
RUN --mount=from=s,source=/d,target=/d,rw echo changed > /d/f
RUN --mount=from=s,source=/d,target=/d test "$(cat /d/f)" = st
RUN --mount=from=base,target=/b test -f /b/etc/passwd
RUN --mount=target=rel set -e; test -f /rel/file
RUN ! test -e /d && ! test -e /ctx/file
