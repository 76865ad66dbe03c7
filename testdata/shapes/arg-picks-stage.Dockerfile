ARG VARIANT=alpine
FROM alpine:3.22 AS base-alpine
RUN apk add --no-cache bash
FROM debian:bookworm-slim AS base-debian
RUN apt-get update && apt-get install -y bash
FROM base-${VARIANT} AS final
COPY app /app
CMD ["/app"]
