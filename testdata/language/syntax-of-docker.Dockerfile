# syntax=docker/dockerfile:1.99-labs
FROM base
RUN true
