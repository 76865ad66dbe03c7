# syntax=docker/dockerfile:1
FROM alpine
RUN --network=none sh -c '! wget -q -T 1 -O- http://example.com'
RUN --network=host wget -qO- http://127.0.0.1:8000/ping
RUN --security=sandbox id
RUN --network=default --mount=type=tmpfs,target=/scratch,size=64m dd if=/dev/zero of=/scratch/x bs=1M count=8
