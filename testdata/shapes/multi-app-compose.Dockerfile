FROM node:22-alpine AS frontend
WORKDIR /ui
COPY ui/package*.json ./
RUN npm ci
COPY ui .
RUN npm run build
FROM golang:1.25-alpine AS backend
WORKDIR /api
COPY api/go.mod api/go.sum ./
RUN go mod download
COPY api .
RUN CGO_ENABLED=0 go build -o /server
FROM alpine:3.22 AS certs
RUN apk add --no-cache ca-certificates
FROM scratch
COPY --from=certs /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=frontend /ui/dist /public
COPY --from=backend /server /
ENTRYPOINT ["/server", "--static=/public"]
