FROM alpine
RUN echo a > /a
FROM alpine
RUN echo b > /b
FROM scratch
COPY --from=0 /a /
COPY --from=1 /b /
