FROM python:3.12-bookworm AS wheels
RUN apt-get update && apt-get install -y --no-install-recommends \
      build-essential \
      libpq-dev \
      # for lxml
      libxml2-dev libxslt1-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements /requirements
RUN pip wheel --wheel-dir=/wheels -r /requirements/production.txt

FROM python:3.12-slim-bookworm
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links=/wheels /wheels/*.whl
COPY --chmod=0755 docker/entrypoint.sh /entrypoint
WORKDIR /code
COPY . /code/
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8000/healthz')"]
ENTRYPOINT ["/entrypoint"]
CMD ["gunicorn", "config.wsgi", "-b", "0.0.0.0:8000", "-w", "4"]
