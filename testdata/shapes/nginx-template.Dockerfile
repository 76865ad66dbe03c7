FROM nginx:stable
RUN rm /etc/nginx/conf.d/*
COPY nginx/templates/ /etc/nginx/templates/
COPY --chmod=u=rwx,go=rx nginx/90-tune.sh /docker-entrypoint.d/
ENV NGINX_ENVSUBST_FILTER="^APP_" APP_UPSTREAM="http://app:8000"
EXPOSE 80 443/tcp 443/udp
STOPSIGNAL SIGQUIT
