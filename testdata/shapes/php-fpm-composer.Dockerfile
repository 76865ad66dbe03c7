FROM composer/composer:2-bin AS composer_upstream

FROM php:8.4-fpm-alpine AS base
WORKDIR /app
RUN apk add --no-cache acl fcgi file gettext git
RUN set -eux; \
    apk add --no-cache --virtual .build-deps $PHPIZE_DEPS icu-dev libzip-dev zlib-dev; \
    docker-php-ext-configure zip; \
    docker-php-ext-install -j$(nproc) intl zip; \
    pecl install apcu-5.1.24; \
    pecl clear-cache; \
    docker-php-ext-enable apcu opcache; \
    runDeps="$( \
        scanelf --needed --nobanner --format '%n#p' --recursive /usr/local/lib/php/extensions \
            | tr ',' '\n' \
            | sort -u \
            | awk 'system("[ -e /usr/local/lib/" $1 " ]") == 0 { next } { print "so:" $1 }' \
    )"; \
    apk add --no-cache --virtual .app-phpexts-rundeps $runDeps; \
    apk del .build-deps
ENV COMPOSER_ALLOW_SUPERUSER=1
COPY --from=composer_upstream --link /composer /usr/bin/composer
COPY --link docker/php/conf.d/app.ini $PHP_INI_DIR/conf.d/

FROM base AS prod
ENV APP_ENV=prod
RUN mv "$PHP_INI_DIR/php.ini-production" "$PHP_INI_DIR/php.ini"
COPY --link composer.* symfony.* ./
RUN set -eux; \
    if [ -f composer.json ]; then \
        composer install --prefer-dist --no-dev --no-autoloader --no-scripts --no-progress; \
        composer clear-cache; \
    fi
COPY --link  . .
RUN rm -Rf docker/
HEALTHCHECK --interval=10s --timeout=3s --retries=3 CMD ["docker-healthcheck"]
STOPSIGNAL SIGQUIT
CMD ["php-fpm"]
