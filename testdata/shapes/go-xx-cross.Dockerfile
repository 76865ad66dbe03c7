# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.6.1 AS xx

FROM --platform=$BUILDPLATFORM golang:1.25-alpine AS build
COPY --from=xx / /
RUN apk add --no-cache clang lld
WORKDIR /work
ARG TARGETPLATFORM
RUN xx-apk add --no-cache gcc musl-dev
ENV CGO_ENABLED=1
RUN --mount=target=. --mount=target=/root/.cache,type=cache \
  xx-go build -o /out/tool . && \
  xx-verify --static /out/tool

FROM scratch AS binary
COPY --link --from=build /out/tool /

FROM alpine
COPY --link --from=build /out/tool /usr/bin/
