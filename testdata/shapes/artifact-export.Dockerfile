FROM alpine AS build
RUN mkdir /out && echo hi > /out/report.txt
FROM scratch AS export
COPY --from=build /out /
