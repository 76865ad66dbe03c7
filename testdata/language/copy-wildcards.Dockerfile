FROM base
COPY f*e /one/
COPY fil? /two/
COPY [a-f]ile /three/
COPY d*/inner /four/
COPY *.none dir /five/
RUN set -e; test -f /one/file; test -f /two/file; test -f /three/file; test -f /four/inner; test -f /five/inner
