FROM golang:1.25 AS deps
WORKDIR /app
COPY go.* ./
RUN go mod download
COPY . .

FROM deps AS vet
RUN go vet ./...

FROM deps AS unit
RUN --mount=type=tmpfs,target=/tmp go test -race -coverprofile=/cover.out ./... \
 && go tool cover -func=/cover.out | tail -1

FROM scratch AS cover
COPY --from=unit /cover.out /

FROM deps AS release
RUN make build
CMD ["./bin/app"]
