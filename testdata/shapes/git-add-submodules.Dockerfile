# syntax=docker/dockerfile:1
FROM alpine AS src
ADD --keep-git-dir=true https://github.com/moby/buildkit.git?ref=v0.25.0&subdir=docs /docs
ADD git@github.com:example/lib.git#main:src /lib
ADD --checksum=0123456789abcdef0123456789abcdef01234567 https://gitlab.com/group/project.git?tag=v1 /project
FROM scratch
COPY --from=src /docs /docs
