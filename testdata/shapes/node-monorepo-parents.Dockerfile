# syntax=docker/dockerfile:1.20
FROM node:22 AS manifests
WORKDIR /repo
COPY --parents package.json yarn.lock packages/*/package.json tools/./*/package.json ./
RUN yarn install --immutable

FROM manifests AS build
COPY --exclude=**/*.test.ts --exclude=docs . .
RUN yarn workspaces foreach -A run build

FROM node:22-slim
WORKDIR /srv
COPY --parents --from=build /repo/./packages/*/dist ./
CMD ["node", "packages/api/dist/index.js"]
