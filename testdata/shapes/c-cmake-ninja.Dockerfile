FROM debian:bookworm AS toolchain
ARG DEBIAN_FRONTEND=noninteractive
RUN rm -f /etc/apt/apt.conf.d/docker-clean; \
    echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";' > /etc/apt/apt.conf.d/keep-cache
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && apt-get --no-install-recommends install -y gcc g++ cmake ninja-build ccache

FROM toolchain AS build
ENV CCACHE_DIR=/ccache
WORKDIR /build
RUN --mount=type=bind,target=/src \
    --mount=type=cache,target=/ccache,sharing=shared \
    cmake -S /src -B . -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
 && ninja && ninja test && DESTDIR=/install ninja install

FROM debian:bookworm-slim
COPY --from=build /install/usr/local /usr/local
RUN ldconfig
