FROM node:22 AS build
WORKDIR /app
COPY package*.json ./
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,required=true npm ci
COPY . .
RUN --mount=type=secret,id=sentry,env=SENTRY_AUTH npm run build

FROM nginxinc/nginx-unprivileged:1.29-alpine
COPY --from=build --link /app/dist /usr/share/nginx/html
