# syntax=docker/dockerfile:1
ARG SOURCE_DATE_EPOCH=1735689600
FROM debian:bookworm-20250101-slim
ARG SOURCE_DATE_EPOCH
ARG SNAPSHOT=20250101T000000Z
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=tmpfs,target=/var/lib/apt/lists \
    --mount=type=tmpfs,target=/var/log <<-EOT
	set -eu
	cat > /etc/apt/sources.list.d/debian.sources <<END
	Types: deb
	URIs: http://snapshot.debian.org/archive/debian/${SNAPSHOT}
	Suites: bookworm
	Components: main
	END
	apt-get -o Acquire::Check-Valid-Until=false update
	apt-get install -y --no-install-recommends hello
	rm -f /var/cache/ldconfig/aux-cache
EOT
