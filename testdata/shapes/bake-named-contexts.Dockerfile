FROM toolchain AS build
COPY --from=shared /proto /src/proto
COPY . /src
RUN make -C /src
FROM runtime
COPY --from=build /src/out /opt/app
COPY --from=assets . /opt/app/static/
