FROM base AS seed
RUN mkdir /seed && echo s > /seed/s
FROM base
RUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/seed,uid=7,gid=8,mode=0711 set -e; test "$(cat /c/s)" = s; test "$(stat -c %a:%u:%g /c)" = 711:7:8
RUN --mount=type=cache,target=/c,id=ro2,ro ! touch /c/x
