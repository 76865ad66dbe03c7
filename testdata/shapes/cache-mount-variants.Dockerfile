FROM debian:bookworm
ARG CACHE_ID=apt
ENV CACHE_DIR=/var/cache/apt
RUN --mount=type=cache,id=${CACHE_ID}-lists,target=/var/lib/apt,sharing=locked \
    --mount=type=cache,id=${CACHE_ID},dst=${CACHE_DIR},sharing=private,mode=0755,uid=0,gid=0 \
    --mount=type=cache,destination=/ro,readonly,from=busybox,src=/bin \
    apt-get update
