FROM base
COPY . /all
COPY ./ /all2/
COPY dir/. /all3
COPY ./dir /all4
RUN set -e; for d in /all /all2; do test -f $d/file; test -f $d/dir/inner; done; test -f /all3/inner; test -f /all4/inner
