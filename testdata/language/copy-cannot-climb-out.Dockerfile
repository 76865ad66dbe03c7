FROM base
COPY ../../file /x
COPY /file /y
COPY dir/../file /z
RUN set -e; test -f /x; test -f /y; test -f /z
