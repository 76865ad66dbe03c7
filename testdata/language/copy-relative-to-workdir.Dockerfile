FROM base
WORKDIR /a
WORKDIR b
COPY file c/
COPY file .
COPY dir ./
RUN set -e; test "$(pwd)" = /a/b; test -f /a/b/c/file; test -f /a/b/file; test -f /a/b/inner
