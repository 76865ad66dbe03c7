FROM base AS parent
ONBUILD ARG WHO=nobody
ONBUILD COPY file /onbuild/
ONBUILD RUN --mount=type=bind,target=/ctx cp /ctx/file /onbuild/second
FROM parent
RUN set -e; test -f /onbuild/file; test -f /onbuild/second
