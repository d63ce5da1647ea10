# Any entry point in a container: docker compose run --rm train cnnv3 dataset=digits
FROM python:3.11.14-slim-bookworm

WORKDIR /app
COPY requirements-tested.txt ./
RUN pip install --no-cache-dir --requirement requirements-tested.txt
COPY pyproject.toml README.md LICENSE MLproject ./
COPY tp1 tp1
COPY experiments experiments
# The cache is a volume, which takes over this owner.
RUN pip install --no-cache-dir --no-deps . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin train \
    && mkdir /cache && chown 10001:10001 /cache

USER 10001:10001
ENTRYPOINT ["tp1"]
