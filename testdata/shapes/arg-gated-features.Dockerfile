ARG WITH_DOCS=
FROM alpine AS docs-
RUN mkdir -p /out
FROM alpine AS docs-yes
COPY docs /out
FROM docs-${WITH_DOCS:+yes} AS docs
FROM alpine
COPY --from=docs /out /usr/share/doc
