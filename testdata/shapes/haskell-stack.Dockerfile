FROM haskell:9.8 AS build
WORKDIR /opt/build
RUN cabal update
COPY ./*.cabal ./
RUN cabal build --only-dependencies -j4
COPY . .
RUN cabal install --installdir=/opt/bin --install-method=copy

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgmp10 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/bin/server /usr/local/bin/
CMD ["server"]
