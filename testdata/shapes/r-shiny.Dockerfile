FROM rocker/r-ver:4.5
RUN apt-get update && apt-get install -y --no-install-recommends libcurl4-openssl-dev libssl-dev \
 && rm -rf /var/lib/apt/lists/*
RUN R -e 'install.packages(c("shiny", "renv"), repos = "https://cloud.r-project.org")'
WORKDIR /app
COPY renv.lock .
RUN R -e "renv::restore()"
COPY app.R .
EXPOSE 3838
CMD ["R", "-e", "shiny::runApp('/app', host = '0.0.0.0', port = 3838)"]
