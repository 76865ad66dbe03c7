FROM base
RUN mkdir /reality && ln -s /reality /alias
COPY file /alias/
COPY --link file /linked/
RUN set -e; test -f /reality/file; test -L /alias; test -f /linked/file
