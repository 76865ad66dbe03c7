FROM --platform=$BUILDPLATFORM alpine:3.22 AS build
ARG TARGETARCH
ARG ZIG=0.15.1
ADD --unpack=true https://ziglang.org/download/${ZIG}/zig-x86_64-linux-${ZIG}.tar.xz /opt/
RUN ln -s /opt/zig-x86_64-linux-${ZIG}/zig /usr/local/bin/zig
WORKDIR /w
COPY . .
RUN case $TARGETARCH in amd64) t=x86_64 ;; arm64) t=aarch64 ;; esac; zig build -Dtarget=$t-linux-musl
FROM scratch
COPY --from=build /w/zig-out/bin/* /bin/
