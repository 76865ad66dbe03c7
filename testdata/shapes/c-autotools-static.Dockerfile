FROM alpine:3.22 AS build
RUN apk add build-base autoconf automake libtool linux-headers
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://mirrors.edge.kernel.org/pub/linux/kernel/Historic/linux-0.01.tar.gz /src.tar.gz
RUN mkdir /src && tar xf /src.tar.gz -C /src --strip-components=1
WORKDIR /src
RUN ./configure --enable-static LDFLAGS="-static -Wl,-z,relro" && make -j"$(nproc)"
FROM scratch
COPY --from=build /src/tool /tool
ENTRYPOINT ["/tool"]
