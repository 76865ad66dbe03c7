FROM base
COPY --exclude=inner --exclude=**/x dir /e/
COPY --exclude=dir . /f/
COPY --exclude=* --exclude=!file . /g/
RUN set -e; ! test -e /e/inner; ! test -e /e/deep/er/x; ! test -e /f/dir; test -f /f/file; test -f /g/file; ! test -e /g/dir
