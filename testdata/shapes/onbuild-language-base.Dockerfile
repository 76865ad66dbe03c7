FROM ruby:3.4
RUN bundle config --global frozen 1
WORKDIR /usr/src/app
ONBUILD COPY Gemfile Gemfile.lock ./
ONBUILD RUN bundle install
ONBUILD COPY . .
ONBUILD ARG RAILS_ENV=production
ONBUILD ENV RAILS_ENV=$RAILS_ENV
