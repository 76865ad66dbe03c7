FROM alpine AS data
RUN mkdir /d && echo 1 > /d/1
FROM alpine
RUN --mount=target=/ctx cp /ctx/a /a
RUN --mount=type=bind,from=data,src=/d,dst=/d,rw sh -c 'echo 2 > /d/2'
RUN --mount=from=data,source=/d,destination=/d,readonly=true cat /d/1
RUN --mount=type=bind,from=busybox:1.37,source=/bin/busybox,target=/bb /bb true
