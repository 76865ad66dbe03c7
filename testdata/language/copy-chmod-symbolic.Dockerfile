FROM base
COPY --chmod=u=rwX,go=rX dir /m/
COPY --chmod=a+x file /n
COPY --chmod=0640 file /o
ARG MODE=go-rwx
COPY --chmod=$MODE file /p
RUN set -e; test "$(stat -c %a /m/inner)" = 644; test "$(stat -c %a /m/deep)" = 755; test -x /n; test "$(stat -c %a /o)" = 640; test "$(stat -c %a /p)" = 600
