FROM cgr.dev/chainguard/wolfi-base AS builder
ARG version=3.13
WORKDIR /app
RUN apk add python-${version} py${version}-pip && chown -R nonroot:nonroot /app/
USER nonroot
COPY requirements.txt .
RUN pip install -r requirements.txt --user
FROM cgr.dev/chainguard/python:latest
COPY --from=builder --chown=nonroot:nonroot /home/nonroot/.local/lib /home/nonroot/.local/lib
COPY main.py .
ENTRYPOINT ["python", "/app/main.py"]
