"""The server's objects: their bucket, a copy of all of them, and back.

Runs inside the tracking server's image, by `docker compose run bucket COMMAND`, where this project is not installed.
Keys and address come from the environment, as MLflow takes them.
"""

import os
import shutil
import sys
import tarfile
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

import boto3
from botocore.exceptions import BotoCoreError, ClientError

IN_MEMORY = 16_000_000  # bytes of an object; larger ones pass through a file
PAGE = 1000  # keys that are asked for at once
USAGE = "make-bucket | save > objects.tar | load < objects.tar"


def make_bucket(store: Any, bucket: str) -> None:
    """Create the bucket, unless it is there."""
    if bucket not in [entry["Name"] for entry in store.list_buckets()["Buckets"]]:
        store.create_bucket(Bucket=bucket)


def save(store: Any, bucket: str, to: BinaryIO) -> int:
    """Write every object to a tar archive, one after another; return how many."""
    count = 0
    with tarfile.open(fileobj=to, mode="w|") as archive:
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": PAGE}):
            for entry in page.get("Contents", []):
                if entry["Key"].endswith("/"):  # a folder, as some stores list them
                    continue
                found = store.get_object(Bucket=bucket, Key=entry["Key"])
                member = tarfile.TarInfo(entry["Key"])
                member.size = found["ContentLength"]
                member.mtime = int(found["LastModified"].timestamp())
                archive.addfile(member, found["Body"])
                count += 1
    return count


def load(store: Any, bucket: str, source: BinaryIO) -> int:
    """Put every object of an archive back; what else is in the bucket stays. Return how many."""
    make_bucket(store, bucket)
    count = 0
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None:
                continue
            with SpooledTemporaryFile(max_size=IN_MEMORY) as whole:  # an upload reads twice, a stream only once
                shutil.copyfileobj(content, whole)
                whole.seek(0)
                store.upload_fileobj(whole, bucket, member.name)
            count += 1
    return count


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    command = arguments[0] if len(arguments) == 1 else ""
    bucket = os.environ.get("TP1_BUCKET", "")
    try:
        store = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None)
        if command == "make-bucket" and bucket:
            make_bucket(store, bucket)
            said = f"bucket {bucket} is there"
        elif command == "save" and bucket:
            said = f"{save(store, bucket, sys.stdout.buffer)} objects saved"
        elif command == "load" and bucket:
            said = f"{load(store, bucket, sys.stdin.buffer)} objects put back"
        else:
            print(f"Error: TP1_BUCKET=... objects.py {USAGE}", file=sys.stderr)
            return 2
    except (BotoCoreError, ClientError, tarfile.TarError, OSError) as error:
        print(f"Error: {command}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    print(said, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
