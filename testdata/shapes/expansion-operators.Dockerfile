ARG FULL=registry.example.com/team/app:1.2.3
ARG ALPINE
FROM alpine:${ALPINE:-3.22}
ARG FULL=registry.example.com/team/app:1.2.3
ENV TAG=${FULL##*:} \
    NAME=${FULL#*/} \
    HOST=${FULL%%/*} \
    DASHED=${FULL//./-} \
    FIRST=${FULL/./_}
LABEL org.opencontainers.image.version="${TAG}" \
      org.opencontainers.image.ref.name=$NAME
WORKDIR /srv/${TAG%%.*}
