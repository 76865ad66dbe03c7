FROM base
COPY file dir/inner /d/
RUN set -e; test -f /d/file; test -f /d/inner; ! test -d /d/dir
