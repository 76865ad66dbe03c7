FROM base AS one
RUN echo 1 > /n; ln -s n /link; mkdir -p /tree/sub; echo t > /tree/sub/t
FROM one AS two
RUN echo 2 > /n
FROM base
COPY --from=0 /n /zero
COPY --from=two /n /two
COPY --from=ONE /link /followed
COPY --from=one /tree /tree
COPY --from=one /tree/sub/* /flat/
COPY --from=base /etc/passwd /passwd
RUN set -e; test "$(cat /zero)" = 1; test "$(cat /two)" = 2; test "$(cat /followed)" = 1; ! test -L /followed; test -f /tree/sub/t; test -f /flat/t; test -s /passwd
