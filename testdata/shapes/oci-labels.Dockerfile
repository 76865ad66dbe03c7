FROM alpine:3.22
ARG CREATED
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tool" \
      org.opencontainers.image.description="A tool that says \"hello\"" \
      org.opencontainers.image.authors='The Authors <a@example.com>' \
      org.opencontainers.image.created=$CREATED \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
LABEL multi="first line \
second line"
