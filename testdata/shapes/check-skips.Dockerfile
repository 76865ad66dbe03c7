# syntax=docker/dockerfile:1
# check=skip=JSONArgsRecommended,SecretsUsedInArgOrEnv
FROM alpine
ENV API_KEY_FILE=/run/secrets/api
ARG DB_PASSWORD
ENTRYPOINT exec /app --listen $PORT
