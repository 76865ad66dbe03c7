FROM base AS s
RUN mkdir /d; ln -s target /d/l; echo x > /d/target; ln /d/target /d/hard
FROM base
COPY --from=s /d /d
RUN set -e; test "$(readlink /d/l)" = target; test "$(stat -c %i /d/target)" = "$(stat -c %i /d/hard)"
