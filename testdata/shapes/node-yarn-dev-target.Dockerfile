FROM node:22-alpine AS development
ARG UID=1000 GID=1000
WORKDIR /workspace
RUN apk add --no-cache git openssh-client bash
RUN deluser node && addgroup -g $GID dev && adduser -D -u $UID -G dev dev
USER dev
VOLUME /workspace/node_modules
CMD ["sh", "-c", "yarn && yarn dev --host"]
