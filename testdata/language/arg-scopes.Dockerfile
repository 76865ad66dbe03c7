ARG GLOBAL=g
ARG SECOND=${GLOBAL}2
FROM base AS one
ARG GLOBAL
ARG SECOND
ARG OWN=own
RUN set -e; test "$GLOBAL" = g; test "$SECOND" = g2; test "$OWN" = own
FROM one AS two
RUN set -e; test "$OWN" = own; test "$GLOBAL" = g
FROM base
RUN set -e; test -z "$GLOBAL"; test -z "$OWN"
ARG GLOBAL=redefined
RUN test "$GLOBAL" = redefined
COPY --from=two /etc/passwd /p
