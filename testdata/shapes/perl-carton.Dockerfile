FROM perl:5.40-slim
WORKDIR /app
COPY cpanfile cpanfile.snapshot ./
RUN cpanm --notest Carton && carton install --deployment && rm -rf ~/.cpanm
COPY . .
ENV PERL5LIB=/app/local/lib/perl5:/app/lib
EXPOSE 3000/tcp
CMD ["local/bin/hypnotoad", "-f", "script/app"]
