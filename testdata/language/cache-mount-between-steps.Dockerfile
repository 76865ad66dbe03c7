FROM base
RUN --mount=type=cache,target=/c echo 1 > /c/f
RUN --mount=type=cache,target=/c test "$(cat /c/f)" = 1
RUN --mount=type=cache,id=/c,target=/other test "$(cat /other/f)" = 1
RUN --mount=type=cache,id=else,target=/c ! test -e /c/f
RUN test -z "$(ls /c 2>/dev/null)"
