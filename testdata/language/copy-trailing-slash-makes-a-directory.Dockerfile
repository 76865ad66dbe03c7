FROM base
COPY file /made/
COPY file /plain
COPY dir /made2
COPY dir/ /made3/
RUN set -e; test -f /made/file; test -f /plain; test -f /made2/inner; test -f /made3/inner; ! test -e /made2/dir
