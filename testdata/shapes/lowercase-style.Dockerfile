# check=skip=StageNameCasing
from alpine:3.22 as base
run apk add --no-cache curl
from base as app
workdir /app
copy . .
entrypoint ["./run"]
