FROM --platform=$BUILDPLATFORM rust:1.91 AS build
ARG TARGETARCH
WORKDIR /w
RUN <<EOT bash
set -euo pipefail
case "$TARGETARCH" in
  amd64) triple=x86_64-unknown-linux-musl ;;
  arm64) triple=aarch64-unknown-linux-musl ;;
  *) echo "no triple for $TARGETARCH" >&2; exit 1 ;;
esac
rustup target add \$triple
echo \$triple > /triple
EOT
COPY . .
RUN cargo build --release --target "$(cat /triple)" && mv target/*/release/app /app

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build --chown=nonroot:nonroot /app /app
ENTRYPOINT ["/app"]
