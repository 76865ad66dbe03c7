FROM base AS pack
RUN mkdir /p && echo in > /p/in && tar -C /p -cf /a.tar in && gzip -c /a.tar > /a.bin
FROM base
COPY --from=pack /a.tar /copied/
ADD dir /added/
RUN set -e; test -f /copied/a.tar; test -f /added/inner
