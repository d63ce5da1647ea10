# MLflow's server with what it needs for PostgreSQL, S3 and authentication, and nothing else.
FROM python:3.11.14-slim-bookworm

COPY tracking-requirements.txt /deploy/
RUN pip install --no-cache-dir --requirement /deploy/tracking-requirements.txt \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tracking \
    && mkdir /uploads && chown 10001:10001 /uploads
COPY auth.ini objects.py /deploy/

USER 10001:10001
WORKDIR /tmp
